// Hugging Face PEFT: adapter_config.json beside adapter_model.safetensors or the older adapter_model.bin.
// Follows peft/tuners/lora/{config,layer,model}.py and peft/utils/save_and_load.py, 0.1 to 0.21.
// Invariant: what the tensors say wins; the configuration gives only the scale. Each disagreement becomes a notice, or a
// refusal where it leaves the scale unknown.
import { type DeltaSource, type ModuleSource, scaleInPlace } from '../delta-source.ts'
import { AdapterError, listed, quote } from '../errors.ts'
import type { ImportOptions } from '../import-options.ts'
import { ModuleNames } from '../modules.ts'
import type { SourceTensor, TensorFile } from '../source-tensor.ts'
import { unfuse } from './fused.ts'
import type { PeftConfig } from './peft-config.ts'
import { peftScale } from './peft-scale.ts'
import { targetNotices } from './peft-targets.ts'

/** The two tensors of one LoRA layer, as they are found in the file. */
interface Pair {
  readonly name: string
  readonly embedding: boolean
  a?: SourceTensor
  b?: SourceTensor
}

/** What PEFT 0.1 and 0.2 convolve fused projections in, however many of their parts have LoRA. */
const FUSED_GROUPS = 2

/** The part of a key after the module path; the adapter's own name may stand before `.weight`. */
const LORA_KEY = /^(.+)\.lora_(embedding_)?([AB])(?:\.(?!weight$|bias$)([^.]+))?(?:\.weight)?$/

/** Tensors that make the adapter more than a plain pair, and what to do. */
const REFUSED_KEYS: readonly (readonly [RegExp, string])[] = [
  [
    /\.lora_magnitude_vector(?:\..*)?$/,
    'is a DoRA magnitude; train with use_dora false, or merge and extract a plain LoRA',
  ],
  [/\.lora_B(?:\.[^.]+)?\.bias$/, 'is a bias of lora_B; train with lora_bias false'],
  [/\.lora_E(?:\..*)?$/, 'belongs to AdaLoRA; only plain LoRA can be served'],
  [/\.base_layer\.lora_[AB]/, 'changes a parameter that is not a linear layer (target_parameters); use target_modules'],
  [
    /\.(?:token_adapter\.trainable_tokens_delta|trainable_tokens_delta)(?:\..*)?$/,
    'replaces rows of the embeddings (trainable_token_indices); train without it',
  ],
]

/**
 * VeLoRA's projection: with it training keeps less for the gradients of A. MonteCLoRA's sampler: training adds noise to A with it.
 * The answer is computed without either.
 */
const TRAINING_ONLY = /\.lora_(?:velora_embed(?:\.[^.]+)?|monteclora_sampler\..+)$/

/** A delta source from an opened PEFT file and its configuration. Throws AdapterError. */
export function readPeft(
  weights: TensorFile,
  config: PeftConfig,
  sourceFormat: string,
  options: ImportOptions,
): DeltaSource {
  const names = new ModuleNames(options.base)
  const notices = unknownNotices(config)
  const { pairs, rest } = collectPairs(weights)
  refuseRest(rest, config, weights, options, notices)
  refuseLostModules(config, rest, weights)
  const scaleOf = peftScale(config, notices)
  const modules = new Map<string, ModuleSource>()
  for (const pair of pairs) {
    const { a, b } = pair
    if (a === undefined || b === undefined) {
      throw new AdapterError(
        'malformed',
        `${weights.file}: ${quote((a ?? b)!.name)} has no matching lora_${a === undefined ? 'A' : 'B'}; save the adapter again.`,
      )
    }
    for (const [path, module] of moduleSources(pair.name, a, b, config, names, scaleOf)) {
      if (modules.has(path))
        throw new AdapterError('malformed', `${weights.file} has two adapters for ${path}; save only one.`)
      modules.set(path, module)
    }
  }
  if (modules.size === 0) throw emptyFile(weights)
  notices.push(
    ...targetNotices(
      config,
      pairs.map(({ name }) => configuredPath(name)),
    ),
    ...coverageNotices(config, modules, options),
  )
  return { metadata: { base: options.base.fingerprint, sourceFormat }, modules, notices }
}

function emptyFile(weights: TensorFile): AdapterError {
  const hint = weights.file.endsWith('.bin')
    ? 'alpaca-lora saves such an empty file with PEFT 0.3 and later; use checkpoint-N/pytorch_model.bin of the same run, renamed to adapter_model.bin'
    : 'save the adapter again with save_pretrained'
  return new AdapterError(
    'ineffective',
    `${weights.file} holds ${weights.tensors.size === 0 ? 'no tensors at all' : 'no LoRA tensors'}: ${hint}.`,
  )
}

function collectPairs(weights: TensorFile): { pairs: Pair[]; rest: SourceTensor[] } {
  const pairs = new Map<string, Pair>()
  const rest: SourceTensor[] = []
  /** A tensor of each adapter, by the adapter's name in the keys. */
  const adapters = new Map<string, SourceTensor>()
  for (const tensor of weights.tensors.values()) {
    if (TRAINING_ONLY.test(tensor.name)) continue
    const match = LORA_KEY.exec(tensor.name)
    if (match === null || tensor.name.includes('.base_layer.lora_')) {
      rest.push(tensor)
      continue
    }
    const name = match[1]!
    const side = match[3] === 'A' ? 'a' : 'b'
    const pair = pairs.get(name) ?? { name, embedding: match[2] !== undefined }
    const other = pair[side] ?? [...adapters].find(([adapter]) => adapter !== (match[4] ?? ''))?.[1]
    if (other !== undefined) {
      throw new AdapterError(
        'unsupported',
        `${weights.file} has both ${quote(other.name)} and ${quote(tensor.name)}: two adapters in one file; save them one by one.`,
      )
    }
    adapters.set(match[4] ?? '', tensor)
    pair[side] = tensor
    pairs.set(name, pair)
  }
  return { pairs: [...pairs.values()], rest }
}

/** Everything beside the pairs: refused by name unless it is a copy of a base weight, which PEFT adds by itself. */
function refuseRest(
  rest: readonly SourceTensor[],
  config: PeftConfig,
  weights: TensorFile,
  options: ImportOptions,
  notices: string[],
): void {
  for (const { name, shape } of rest) {
    const refused = REFUSED_KEYS.find(([key]) => key.test(name))
    if (refused !== undefined) throw new AdapterError('unsupported', `${weights.file}: ${quote(name)} ${refused[1]}.`)
    if (/\.bias$/.test(name)) {
      throw new AdapterError(
        'unsupported',
        `${weights.file}: ${quote(name)} changes a bias of the base model; train with bias "none".`,
      )
    }
    const embedding = /(?:^|\.)(embed_tokens|lm_head)(?:\.base_layer)?\.weight$/.exec(name)?.[1]
    const saved = config.modulesToSave.some((module) => belongsTo(name, module))
    if (embedding === undefined || saved) {
      const why = saved
        ? 'is a full copy of a trained layer (modules_to_save); train with modules_to_save null'
        : 'is not a LoRA tensor; save only the adapter'
      throw new AdapterError('unsupported', `${weights.file}: ${quote(name)} ${why}.`)
    }
    if (shape[0] !== options.base.vocab_size || shape[1] !== options.base.hidden_size) {
      throw new AdapterError(
        'unsupported',
        `${weights.file}: ${quote(name)} is [${shape.join(', ')}], not the [${options.base.vocab_size}, ${options.base.hidden_size}] of ${options.base.name}: the vocabulary was resized; train without adding tokens.`,
      )
    }
    notices.push(
      `${quote(name)} is PEFT's copy of a base weight that is not in modules_to_save and was left out: had it been changed all the same, the answers would differ from those in training.`,
    )
  }
}

/** Full copies that the configuration promises and the file lacks: the adapter would be served without what was trained. */
function refuseLostModules(config: PeftConfig, rest: readonly SourceTensor[], weights: TensorFile): void {
  const lost = config.modulesToSave.find((module) => !rest.some(({ name }) => belongsTo(name, module)))
  if (lost === undefined) return
  throw new AdapterError(
    'missing',
    `${weights.file} has no weights of ${quote(lost)}, which modules_to_save says was trained; train with modules_to_save null.`,
  )
}

function unknownNotices({ unknownFields }: PeftConfig): string[] {
  if (unknownFields.length === 0) return []
  return [
    `adapter_config.json sets ${listed(unknownFields)}, which no PEFT up to 0.21 knows: were it to change more than A and B do, the answers would differ from those in training.`,
  ]
}

/** What the configuration lets one expect and the tensors do not show. */
function coverageNotices(
  config: PeftConfig,
  modules: ReadonlyMap<string, ModuleSource>,
  { base }: ImportOptions,
): string[] {
  const notices: string[] = []
  if (config.trainsBias) {
    notices.push(
      'adapter_config.json trained biases, but the file has none: where the base model has any, they were lost when it was saved.',
    )
  }
  if (config.layers !== undefined) return notices
  const layers = new Map<string, number>()
  for (const path of modules.keys()) {
    const name = /^model\.layers\.\d+\.(.+)$/.exec(path)?.[1]
    if (name !== undefined) layers.set(name, (layers.get(name) ?? 0) + 1)
  }
  for (const [name, count] of layers) {
    if (count === base.layers) continue
    const missing = Array.from({ length: base.layers }, (_, layer) => layer).filter(
      (layer) => !modules.has(`model.layers.${layer}.${name}`),
    )
    notices.push(`${name} has tensors in ${count} of ${base.layers} layers; none in layer ${listed(missing)}.`)
  }
  return notices
}

/** Whether a tensor lies in a module that modules_to_save means by `module`: each whose path ends so, as `norm` all norms. */
function belongsTo(tensor: string, module: string): boolean {
  return tensor.includes(`${module}.`)
}

/** A module's path in the keys as the configuration names it: without PEFT's prefix and what was wrapped around PEFT. */
function configuredPath(name: string): string {
  return name.replace(/^(?:.+?\.)?base_model\.model\./, '')
}

function moduleSources(
  name: string,
  a: SourceTensor,
  b: SourceTensor,
  config: PeftConfig,
  names: ModuleNames,
  scaleOf: (path: string, rank: number) => number,
): Map<string, ModuleSource> {
  const configured = configuredPath(name)
  const { enableLora } = config
  if (enableLora && b.shape.length === 3) {
    return unfuse(name, a, b, enableLora, names, (rank) => scaleOf(configured, rank), FUSED_GROUPS)
  }
  const path = names.find(name, a.name)
  const rank = names.pairRank(path, a, b)
  const { in: columns, out } = names.size(path)
  const scale = scaleOf(configured, rank)
  const load = async () => ({ a: await a.load(), b: scaleInPlace(await b.load(), scale) })
  return new Map([[path, { rank, in: columns, out, scale, load }]])
}
