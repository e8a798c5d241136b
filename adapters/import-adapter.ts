// Takes the files that some LoRA project saved, finds out which one, and gives one delta source.
// Knows how formats look from outside, not how they are read. Invariant: what it cannot place, it refuses by name.
import * as z from 'zod/mini'
import type { BaseModel } from './base-model.ts'
import { checkDeltaHeader, DELTA_FORMAT, tensorNames } from './canonical.ts'
import type { DeltaSource, ModuleSource } from './delta-source.ts'
import { AdapterError, listed } from './errors.ts'
import { type AdapterFile, baseName, type FileSet, folderOf, readJson } from './file-set.ts'
import { findPromptForm, type PromptForm } from './formats/chat-template.ts'
import { readGguf } from './formats/gguf.ts'
import { type LoralibFacts, readLoralib } from './formats/loralib.ts'
import { isMistralFinetune, readMistralFinetune } from './formats/mistral-finetune.ts'
import { isMlxConfig, readMlx } from './formats/mlx.ts'
import { readPeft } from './formats/peft.ts'
import { parsePeftConfig } from './formats/peft-config.ts'
import { refuseStrangeConfig, refuseStrangeTensors } from './formats/strangers.ts'
import { type Fact, type ImportOptions, refuseOtherFacts } from './import-options.ts'
import { UNKNOWN_FINGERPRINT } from './infer-base.ts'
import { headerEnd, LENGTH_BYTES } from './safetensors.ts'
import type { TensorFile } from './source-tensor.ts'
import { isShard, listWeights, openWeights, pickWeights } from './weights-file.ts'

const CONFIG = 'adapter_config.json'
/** PEFT's weights in the order in which PEFT itself prefers them; the last is what a Trainer's checkpoint holds. */
const PEFT_WEIGHTS = ['adapter_model.safetensors', 'adapter_model.bin', 'pytorch_model.bin']

const MAX_FACTS_BYTES = 65_536
const Facts = z.looseObject({
  r: z.optional(z.number()),
  lora_alpha: z.optional(z.number()),
  alpha: z.optional(z.number()),
  enable_lora: z.optional(z.array(z.boolean())),
})

/** An adapter whose project is known and whose header is read; its values are still in its files. */
export interface IdentifiedAdapter {
  readonly weights: TensorFile
  /** Throws AdapterError when it does not fit `options.base` or can't be a plain delta. */
  read(options: ImportOptions): Promise<DeltaSource>
}

/**
 * Reads an adapter in whatever supported form `files` have it. Values stay in the files until the source's modules are
 * loaded. Throws AdapterError with one sentence for the adapter's owner.
 */
export async function importAdapter(files: FileSet, options: ImportOptions): Promise<DeltaSource> {
  return (await identifyAdapter(files)).read(options)
}

/** Finds out which project saved `files`. Throws AdapterError when none is recognised, or it is one that can't be served. */
export async function identifyAdapter(files: FileSet): Promise<IdentifiedAdapter> {
  if (files.size === 0) {
    throw new AdapterError('missing', 'There are no files; give the folder or the file that training saved.')
  }
  const config = findConfig(files)
  return config === undefined ? identifyByTensors(files) : identifyByConfig(files, config)
}

/** adapter_config.json, at the top or in the only folder that has one. */
function findConfig(files: FileSet): AdapterFile | undefined {
  const top = files.get(CONFIG)
  if (top !== undefined) return top
  const [first, second] = [...files.values()].filter((file) => baseName(file) === CONFIG)
  if (first !== undefined && second !== undefined) {
    throw new AdapterError(
      'unsupported',
      `Both ${first.name} and ${second.name} are here: several adapters; give one folder.`,
    )
  }
  return first
}

async function identifyByConfig(files: FileSet, configFile: AdapterFile): Promise<IdentifiedAdapter> {
  const json = await readJson(configFile)
  const folder = folderOf(configFile)
  if (isMlxConfig(json)) {
    const file = beside(files, folder, ['adapters.safetensors'])
    const weights = await openWeights(file)
    const named = await identifyByMetadata(files, file, weights)
    if (named) return named
    const prompts = await findPromptForm(files, folder)
    return { weights, read: reader(weights, ['scaling'], prompts, (options) => readMlx(weights, json, options)) }
  }
  refuseStrangeConfig(json, configFile.name)
  const config = parsePeftConfig(json, configFile.name)
  const file = beside(files, folder, PEFT_WEIGHTS)
  const weights = await openWeights(file)
  // What was made of PEFT's files beside them has factors of its own: by their configuration it would be scaled twice.
  const named = await identifyByMetadata(files, file, weights)
  if (named) return named
  const prompts = await findPromptForm(files, folder)
  const format = prompts.template?.kind === 'alpaca' ? 'alpaca-lora' : 'peft'
  return { weights, read: reader(weights, [], prompts, (options) => readPeft(weights, config, format, options)) }
}

function beside(files: FileSet, folder: string, names: readonly string[]): AdapterFile {
  const file = names.map((name) => files.get(folder + name)).find((candidate) => candidate !== undefined)
  if (file !== undefined) return file
  // Renamed weights, given by themselves or alone in their folder, are meant.
  const here = listWeights(files).filter((candidate) => candidate.name === folder + baseName(candidate))
  const shard = here.find(isShard)
  if (shard !== undefined) {
    throw new AdapterError(
      'unsupported',
      `${shard.name} is one of several files; save the adapter again in a single one, with a larger max_shard_size.`,
    )
  }
  if (here.length === 1) return here[0]!
  throw new AdapterError(
    'missing',
    `${folder}${CONFIG} has no ${names.slice(0, 2).join(' or ')} beside it; give the whole folder.`,
  )
}

async function identifyByTensors(files: FileSet): Promise<IdentifiedAdapter> {
  const file = pickWeights(files)
  const weights = await openWeights(file)
  const named = await identifyByMetadata(files, file, weights)
  if (named) return named
  const folder = folderOf(file)
  const prompts = await findPromptForm(files, folder)
  if (isMistralFinetune(weights)) {
    const params = files.get(`${folder}params.json`)
    const json = params && (await readJson(params))
    const read = (options: ImportOptions) => readMistralFinetune(weights, json, options)
    return { weights, read: reader(weights, ['scaling'], prompts, read) }
  }
  refuseStrangeTensors(weights)
  if ([...weights.tensors.keys()].some((name) => /\.lora_(?:embedding_)?[AB]\.(?:.+\.)?weight$/.test(name))) {
    throw new AdapterError(
      'missing',
      `${file.name} has PEFT's tensor names but no ${CONFIG} lies beside it, so the scale is unknown; give the whole folder.`,
    )
  }
  const facts = await loralibFacts(files, file)
  const read = (options: ImportOptions) => readLoralib(weights, facts, options)
  return { weights, read: reader(weights, ['alpha', 'enableLora'], prompts, read) }
}

/** Of weights that say themselves what they are, whatever lies beside them. */
async function identifyByMetadata(
  files: FileSet,
  file: AdapterFile,
  weights: TensorFile,
): Promise<IdentifiedAdapter | undefined> {
  if (weights.metadata.get('format') === DELTA_FORMAT) {
    return { weights, read: (options) => importCanonical(file, weights, options) }
  }
  if (!weights.metadata.has('general.architecture')) return undefined
  const prompts = await findPromptForm(files, folderOf(file))
  return { weights, read: reader(weights, [], prompts, (options) => readGguf(weights, options)) }
}

/** `read` for options of which this format uses `used`, and with the prompt form that was found beside it. */
function reader(
  { file }: TensorFile,
  used: readonly Fact[],
  prompts: PromptForm,
  read: (options: ImportOptions) => DeltaSource,
): IdentifiedAdapter['read'] {
  return async (options) => {
    refuseOtherFacts(options, used, file)
    return withPromptForm(read(options), prompts, options)
  }
}

function withPromptForm(source: DeltaSource, prompts: PromptForm, options: ImportOptions): DeltaSource {
  const { template } = prompts
  const notices = [...source.notices, ...strangeTokens(prompts, options.base)]
  if (template === undefined || options.ignoreChatTemplate === true) return { ...source, notices }
  const { text, file, tokens } = template
  const withOwn = tokens.length === 0 ? '' : `, with the adapter's own ${tokens.join(' and ')}`
  const notice = `The chat template of ${file} travels with the adapter and is used instead of the base model's${withOwn}.`
  return { ...source, metadata: { ...source.metadata, chatTemplate: text }, notices: [...notices, notice] }
}

/** A notice of tokens that the base model surely lacks; which of the others it has, its sizes do not tell. */
function strangeTokens({ addedTokens }: PromptForm, { vocab_size: size, fingerprint, name }: BaseModel): string[] {
  const strange = addedTokens.filter(({ id }) => id >= size)
  if (strange.length === 0 || fingerprint === UNKNOWN_FINGERPRINT) return []
  const tokens = listed(strange.map(({ content }) => content))
  return [`The adapter's tokenizer adds ${tokens} beyond the vocabulary of ${name}, which reads them as plain text.`]
}

/**
 * A side file of the training script, such as lora.json: {"r": 8, "lora_alpha": 32, "enable_lora": [true, false, true]}.
 * The one that is named like the weights goes before lora.json beside them, and that before the others, which must agree.
 * What else lies there as JSON is passed over.
 */
async function loralibFacts(files: FileSet, weights: AdapterFile): Promise<LoralibFacts> {
  const found = await statedFacts(files)
  const own = `${weights.name.replace(/\.[^./]+$/, '')}.json`
  for (const name of [own, `${folderOf(weights)}lora.json`]) {
    const facts = found.find(({ file }) => file === name)
    if (facts !== undefined) return facts
  }
  const [first, ...others] = found
  if (first === undefined) return { file: undefined, r: undefined, alpha: undefined, enableLora: undefined }
  const other = others.find(
    (facts) => facts.alpha !== first.alpha || String(facts.enableLora) !== String(first.enableLora),
  )
  if (other === undefined) return first
  throw new AdapterError(
    'mismatch',
    `${first.file} and ${other.file} say different things of how ${weights.name} was trained; name the right one ${own}.`,
  )
}

async function statedFacts(files: FileSet): Promise<LoralibFacts[]> {
  const found: LoralibFacts[] = []
  for (const file of files.values()) {
    if (!file.name.endsWith('.json') || file.size > MAX_FACTS_BYTES) continue
    const parsed = Facts.safeParse(await readJson(file).catch(() => undefined))
    const alpha = parsed.data?.lora_alpha ?? parsed.data?.alpha
    if (alpha === undefined) continue
    found.push({ file: file.name, r: parsed.data?.r, alpha, enableLora: parsed.data?.enable_lora })
  }
  return found
}

/** A canonical file is taken as it is: published again for the same base it gives the same bytes. */
async function importCanonical(file: AdapterFile, weights: TensorFile, options: ImportOptions): Promise<DeltaSource> {
  refuseOtherFacts(options, [], file.name)
  const head = await file.read(0, headerEnd(await file.read(0, LENGTH_BYTES), file.name))
  const header = checkDeltaHeader(head, file.size, options.base)
  const modules = new Map<string, ModuleSource>()
  for (const [path, { rank, in: columns, out }] of header.modules) {
    const [nameOfA, nameOfB] = tensorNames(path)
    const [a, b] = [weights.tensors.get(nameOfA)!, weights.tensors.get(nameOfB)!]
    const load = async () => ({ a: await a.load(), b: await b.load() })
    modules.set(path, { rank, in: columns, out, scale: 1, load })
  }
  const { chatTemplate, ...metadata } = header.metadata
  const keepsTemplate = chatTemplate !== undefined && options.ignoreChatTemplate !== true
  return { metadata: keepsTemplate ? header.metadata : metadata, dtype: header.dtype, modules, notices: [] }
}
