// Reads a Hugging Face config.json into the few numbers that the graph needs. Knows no weights and no ONNX.
// Invariant: what is not supported is refused here, by the field's name and value, so that no model runs wrongly.
import * as z from 'zod/mini'
import { StartupError } from '../errors.ts'

const positive = z.int().check(z.positive())

const RopeScaling = z.looseObject({
  rope_type: z.optional(z.string()),
  type: z.optional(z.string()),
  rope_theta: z.optional(z.number()),
  factor: z.optional(z.number()),
  low_freq_factor: z.optional(z.number()),
  high_freq_factor: z.optional(z.number()),
  original_max_position_embeddings: z.optional(positive),
  attention_factor: z.optional(z.number()),
  beta_fast: z.optional(z.number()),
  beta_slow: z.optional(z.number()),
  mscale: z.optional(z.number()),
  mscale_all_dim: z.optional(z.number()),
  truncate: z.optional(z.boolean()),
})
export type RopeScaling = z.infer<typeof RopeScaling>

const ConfigJson = z.looseObject({
  model_type: z.string(),
  vocab_size: positive,
  hidden_size: positive,
  num_hidden_layers: positive,
  num_attention_heads: positive,
  num_key_value_heads: z.nullish(positive),
  head_dim: z.nullish(positive),
  intermediate_size: positive,
  hidden_act: z._default(z.string(), 'silu'),
  max_position_embeddings: positive,
  rope_theta: z.optional(z.number()),
  rope_scaling: z.nullish(RopeScaling),
  rope_parameters: z.nullish(RopeScaling),
  rms_norm_eps: z._default(z.number(), 1e-6),
  tie_word_embeddings: z._default(z.boolean(), false),
  attention_bias: z._default(z.boolean(), false),
  mlp_bias: z._default(z.boolean(), false),
  sliding_window: z.nullish(positive),
  use_sliding_window: z.optional(z.boolean()),
  layer_types: z.nullish(z.array(z.string())),
  no_rope_layers: z.nullish(z.array(z.int())),
  bos_token_id: z.nullish(z.int()),
  eos_token_id: z.nullish(z.union([z.int(), z.array(z.int())])),
  quantization_config: z.optional(z.unknown()),
})

/** Model types whose forward pass the graph builder reproduces. */
const MODEL_TYPES = ['llama', 'mistral', 'qwen2', 'qwen3', 'smollm3'] as const
export type ModelType = (typeof MODEL_TYPES)[number]

export interface ModelConfig {
  readonly modelType: ModelType
  readonly vocabSize: number
  readonly hiddenSize: number
  readonly intermediateSize: number
  readonly layers: number
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
  readonly maxPositions: number
  readonly ropeTheta: number
  readonly ropeScaling: RopeScaling | undefined
  readonly rmsNormEps: number
  readonly tiedEmbeddings: boolean
  /** Biases on q, k and v (Qwen2, or `attention_bias`). */
  readonly qkvBias: boolean
  readonly outputBias: boolean
  readonly mlpBias: boolean
  /** RMS norm over each head's q and k (Qwen3). */
  readonly qkNorm: boolean
  /** By layer: whether rotary positions are applied (SmolLM3 leaves every fourth layer without). */
  readonly ropeLayers: readonly boolean[]
  /** By layer: tokens that attention looks back on, or undefined for all. */
  readonly attentionWindows: readonly (number | undefined)[]
  readonly bosTokenId: number | undefined
  readonly eosTokenIds: readonly number[]
}

/**
 * `json` is a parsed config.json; `file` names it in errors.
 * @throws StartupError naming the field and the value that is not supported
 */
export function parseModelConfig(json: unknown, file: string): ModelConfig {
  const parsed = ConfigJson.safeParse(json)
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!
    throw new StartupError(`${file}: field "${issue.path.join('.')}" is wrong: ${issue.message}.`)
  }
  const config = parsed.data
  const modelType = MODEL_TYPES.find((type) => type === config.model_type)
  if (!modelType) {
    refuse(file, 'model_type', config.model_type, `supported are ${MODEL_TYPES.join(', ')}`)
  }
  if (config.hidden_act !== 'silu') refuse(file, 'hidden_act', config.hidden_act, 'supported is silu')
  if (config.quantization_config !== undefined) {
    refuse(file, 'quantization_config', config.quantization_config, 'give the unquantised model and choose --weights')
  }
  const heads = config.num_attention_heads
  const kvHeads = config.num_key_value_heads ?? heads
  const headDim = config.head_dim ?? config.hidden_size / heads
  if (!Number.isInteger(headDim) || headDim % 16 !== 0) {
    refuse(file, 'head_dim', headDim, 'supported are multiples of 16')
  }
  if (heads % kvHeads !== 0)
    refuse(file, 'num_key_value_heads', kvHeads, `it must divide num_attention_heads (${heads})`)
  const scaling = config.rope_parameters ?? config.rope_scaling ?? undefined
  const layers = config.num_hidden_layers
  return {
    modelType,
    vocabSize: config.vocab_size,
    hiddenSize: config.hidden_size,
    intermediateSize: config.intermediate_size,
    layers,
    heads,
    kvHeads,
    headDim,
    maxPositions: config.max_position_embeddings,
    ropeTheta: config.rope_theta ?? scaling?.rope_theta ?? 10_000,
    ropeScaling: checkRopeScaling(scaling, file),
    rmsNormEps: config.rms_norm_eps,
    tiedEmbeddings: config.tie_word_embeddings,
    qkvBias: modelType === 'qwen2' || config.attention_bias,
    outputBias: modelType !== 'qwen2' && config.attention_bias,
    mlpBias: config.mlp_bias,
    qkNorm: modelType === 'qwen3',
    ropeLayers: Array.from({ length: layers }, (_, layer) => config.no_rope_layers?.[layer] !== 0),
    attentionWindows: attentionWindows(config, layers),
    bosTokenId: config.bos_token_id ?? undefined,
    eosTokenIds: [config.eos_token_id ?? []].flat(),
  }
}

function attentionWindows(config: z.infer<typeof ConfigJson>, layers: number): (number | undefined)[] {
  const window = config.use_sliding_window === false ? undefined : (config.sliding_window ?? undefined)
  return Array.from({ length: layers }, (_, layer) => {
    const kind = config.layer_types?.[layer]
    return kind === 'full_attention' ? undefined : window
  })
}

const ROPE_TYPES = ['default', 'linear', 'llama3', 'yarn']

function checkRopeScaling(scaling: RopeScaling | undefined, file: string): RopeScaling | undefined {
  const type = scaling?.rope_type ?? scaling?.type ?? 'default'
  if (!ROPE_TYPES.includes(type)) refuse(file, 'rope_scaling.rope_type', type, `supported are ${ROPE_TYPES.join(', ')}`)
  return type === 'default' ? undefined : { ...scaling, rope_type: type }
}

function refuse(file: string, field: string, value: unknown, hint: string): never {
  throw new StartupError(`${file}: ${field} = ${JSON.stringify(value)} is not supported; ${hint}.`)
}
