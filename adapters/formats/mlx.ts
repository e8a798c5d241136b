// Apple's mlx_lm: adapters.safetensors beside an adapter_config.json of its own (fine_tune_type, lora_parameters).
// Follows mlx_lm/tuner/{lora,utils}.py. Both factors are stored transposed: lora_a [in, r], lora_b [r, out].
// Invariant: `lora_parameters.scale` is the factor itself, whatever the rank.
import * as z from 'zod/mini'
import { type DeltaSource, type ModuleSource, scaleInPlace } from '../delta-source.ts'
import { AdapterError, quote } from '../errors.ts'
import { agreedFactor, type ImportOptions } from '../import-options.ts'
import { ModuleNames } from '../modules.ts'
import type { SourceTensor, TensorFile } from '../source-tensor.ts'
import { transpose } from '../transpose.ts'
import { partnerOf } from './partner.ts'
import { rankNotices } from './rank-notices.ts'

const Config = z.looseObject({
  fine_tune_type: z._default(z.string(), 'lora'),
  lora_parameters: z.optional(
    z.nullable(z.looseObject({ rank: z.optional(z.number()), scale: z.optional(z.number()) })),
  ),
})

/** Whether an adapter_config.json is MLX's and not PEFT's. */
export function isMlxConfig(json: unknown): boolean {
  return (
    typeof json === 'object' &&
    json !== null &&
    !('peft_type' in json) &&
    ('lora_parameters' in json || 'fine_tune_type' in json)
  )
}

/** A delta source from adapters.safetensors and the value of adapter_config.json. Throws AdapterError. */
export function readMlx(weights: TensorFile, configJson: unknown, options: ImportOptions): DeltaSource {
  const parsed = Config.safeParse(configJson)
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    throw new AdapterError(
      'malformed',
      `adapter_config.json: ${quote(issue?.path.join('.') ?? '')} is not what mlx_lm writes (${issue?.message}); correct it.`,
    )
  }
  const { fine_tune_type: kind, lora_parameters: parameters } = parsed.data
  if (kind !== 'lora') {
    throw new AdapterError(
      'unsupported',
      `adapter_config.json: fine_tune_type ${quote(kind)} is not a plain LoRA; train with fine_tune_type "lora".`,
    )
  }
  const scale = agreedFactor(
    { value: parameters?.scale, where: 'adapter_config.json: lora_parameters.scale' },
    { value: options.scaling, option: '--scaling' },
  )
  if (scale === undefined || !Number.isFinite(scale)) {
    throw new AdapterError(
      'missing',
      'adapter_config.json has no lora_parameters.scale, so the scale is unknown; add it or give --scaling.',
    )
  }
  const names = new ModuleNames(options.base)
  const modules = new Map<string, ModuleSource>()
  for (const a of weights.tensors.values()) {
    const match = /^(.+)\.lora_([ab])$/.exec(a.name)
    if (match === null)
      throw new AdapterError(
        'unsupported',
        `${weights.file}: ${quote(a.name)} is not a LoRA tensor; train with fine_tune_type "lora".`,
      )
    const [, name, side] = match
    const b = partnerOf(a, `${name}.lora_${side === 'a' ? 'b' : 'a'}`, weights, 'save the adapter again')
    if (side === 'b') continue
    if (a.shape.length !== 2)
      throw new AdapterError(
        'unsupported',
        `${weights.file}: ${quote(a.name)} belongs to a mixture of experts, which cannot be served.`,
      )
    for (const [path, module] of layerSources(names.find(name!, a.name), a, b, scale, names, options)) {
      if (modules.has(path))
        throw new AdapterError('malformed', `${weights.file} has two adapters for ${path}; save only one.`)
      modules.set(path, module)
    }
  }
  if (modules.size === 0)
    throw new AdapterError('ineffective', `${weights.file} holds no LoRA tensors; save the adapter again.`)
  return {
    metadata: { base: options.base.fingerprint, sourceFormat: 'mlx' },
    modules,
    notices: [
      ...rankNotices('adapter_config.json says lora_parameters.rank', parameters?.rank, modules),
      ...alphaNotices(parsed.data),
    ],
  }
}

function layerSources(
  path: string,
  a: SourceTensor,
  b: SourceTensor,
  scale: number,
  names: ModuleNames,
  { base }: ImportOptions,
): Map<string, ModuleSource> {
  const turned = (tensor: SourceTensor) => ({ name: tensor.name, shape: tensor.shape.toReversed() })
  const rank = names.pairRank(path, turned(a), turned(b))
  const { in: columns, out } = names.size(path)
  const load = async () => ({
    a: transpose(await a.load(), columns, rank),
    b: scaleInPlace(transpose(await b.load(), rank, out), scale),
  })
  const modules = new Map<string, ModuleSource>([[path, { rank, in: columns, out, scale, load }]])
  // mlx_lm's LoRAEmbedding also acts where a tied model uses the embeddings as its head (as_linear).
  if (path === 'model.embed_tokens' && base.tied_embeddings) {
    const loadHead = async () => ({ a: await b.load(), b: scaleInPlace(await a.load(), scale) })
    modules.set('lm_head', { rank, in: out, out: columns, scale, load: loadHead })
  }
  return modules
}

/** Until 0.14.1 mlx_lm multiplied by alpha/rank as well; its files cannot be told from those of 0.14.2 to 0.18. */
function alphaNotices({ lora_parameters: parameters, ...config }: z.infer<typeof Config>): string[] {
  const { alpha, rank, scale } = parameters ?? {}
  if (
    !('lora_layers' in config) ||
    typeof alpha !== 'number' ||
    rank === undefined ||
    scale === undefined ||
    alpha === rank
  )
    return []
  return [
    `lora_parameters.alpha ${alpha} is not used, as in mlx_lm today; if mlx_lm 0.14.1 or older trained this, write ${(scale * alpha) / rank} as lora_parameters.scale.`,
  ]
}
