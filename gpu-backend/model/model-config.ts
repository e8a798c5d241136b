// Reads a Hugging Face config.json into the few numbers that the graph needs. Knows no weights and no ONNX.
// Invariant: what is not supported is refused here, by the field's name and value, so that no model runs wrongly; and a
// field that transformers ignores for a family (a Llama's sliding_window, say) is ignored here.
import { StartupError } from '../errors.ts'
import { type ConfigJson, parseConfigJson, type RopeScaling, showValue } from './config-json.ts'

/** Model types whose forward pass the graph builder reproduces. */
const MODEL_TYPES = ['llama', 'mistral', 'qwen2', 'qwen3', 'smollm3'] as const
type ModelType = (typeof MODEL_TYPES)[number]

/** Its JSON is in the base's fingerprint: a field that comes, goes, or moves makes another base of every model. */
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
  /** With its `rope_type` and `factor`; undefined: none. */
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

const DEFAULT_CONTEXT_TOKENS = 4096

/** Tokens of context: as many as are wanted, or 4096, but never more than the model has positions for. */
export function contextOf({ maxPositions }: ModelConfig, wanted: number | undefined): number {
  return Math.min(wanted ?? DEFAULT_CONTEXT_TOKENS, maxPositions)
}

/**
 * `json` is a parsed config.json; `file` names it in errors.
 * @throws StartupError naming the field and the value that is not supported
 */
export function parseModelConfig(json: unknown, file: string): ModelConfig {
  const config = parseConfigJson(json, file)
  const modelType = MODEL_TYPES.find((type) => type === config.model_type)
  if (!modelType) {
    refuse(file, 'model_type', config.model_type, `supported are ${MODEL_TYPES.join(', ')}`)
  }
  checkActivation(config, file)
  const { heads, kvHeads, headDim } = headSizes(config, file)
  const attentionBias = config.attention_bias === true && modelType !== 'mistral' && modelType !== 'qwen2'
  const ropeLayers = rotaryLayers(config, modelType, file)
  return {
    modelType,
    vocabSize: config.vocab_size,
    hiddenSize: config.hidden_size,
    intermediateSize: config.intermediate_size,
    layers: config.num_hidden_layers,
    heads,
    kvHeads,
    headDim,
    maxPositions: config.max_position_embeddings,
    ...rope(config, file),
    rmsNormEps: config.rms_norm_eps ?? 1e-6,
    tiedEmbeddings: config.tie_word_embeddings ?? false,
    qkvBias: modelType === 'qwen2' || attentionBias,
    outputBias: attentionBias,
    mlpBias: config.mlp_bias === true && (modelType === 'llama' || modelType === 'smollm3'),
    qkNorm: modelType === 'qwen3',
    ropeLayers,
    attentionWindows: attentionWindows(config, modelType, ropeLayers, file),
    bosTokenId: config.bos_token_id ?? undefined,
    eosTokenIds: [config.eos_token_id ?? []].flat(),
  }
}

/** transformers has two names for SiLU. */
const ACTIVATIONS = ['silu', 'swish']

function checkActivation({ hidden_act: activation, quantization_config: quantised }: ConfigJson, file: string): void {
  if (!ACTIVATIONS.includes(activation ?? 'silu')) refuse(file, 'hidden_act', activation, 'supported is silu')
  if (quantised === undefined || quantised === null) return
  refuse(file, 'quantization_config', quantised, 'give the unquantised model and choose --weights')
}

function headSizes(config: ConfigJson, file: string): { heads: number; kvHeads: number; headDim: number } {
  const heads = config.num_attention_heads
  const kvHeads = config.num_key_value_heads ?? heads
  const headDim = config.head_dim ?? config.hidden_size / heads
  if (!Number.isInteger(headDim) || headDim % 16 !== 0) {
    refuse(file, 'head_dim', headDim, 'supported are multiples of 16')
  }
  if (heads % kvHeads !== 0) {
    refuse(file, 'num_key_value_heads', kvHeads, `it must divide num_attention_heads (${heads})`)
  }
  return { heads, kvHeads, headDim }
}

/** By layer: whether it has rotary positions. */
function rotaryLayers(config: ConfigJson, modelType: ModelType, file: string): boolean[] {
  const interval = config.no_rope_layer_interval ?? 4
  const marks = config.no_rope_layers
  return Array.from({ length: config.num_hidden_layers }, (_, layer) => {
    if (modelType !== 'smollm3') return true
    if (!marks) return (layer + 1) % interval !== 0
    return (marks[layer] ?? refuse(file, 'no_rope_layers', marks, 'it must have an entry for each layer')) !== 0
  })
}

/** By layer: tokens that attention looks back on, itself included, or undefined for all. */
function attentionWindows(
  config: ConfigJson,
  modelType: ModelType,
  ropeLayers: readonly boolean[],
  file: string,
): (number | undefined)[] {
  const window = config.sliding_window ?? undefined
  if (modelType === 'llama') return ropeLayers.map(() => undefined)
  const types = config.layer_types
  // A Mistral with a list is a Ministral to transformers.
  if (modelType === 'mistral' && !types) return ropeLayers.map(() => window)
  // SmolLM3's list holds whatever the switch says, Mistral has no switch.
  const isSwitched = modelType !== 'mistral' && !(modelType === 'smollm3' && types)
  if (isSwitched && config.use_sliding_window !== true) return ropeLayers.map(() => undefined)
  return ropeLayers.map((rotary, layer) => {
    // Without a list, Qwen's first layers see everything, and SmolLM3's layers without positions are the windowed ones.
    if (!types)
      return (modelType === 'smollm3' ? !rotary : layer >= (config.max_window_layers ?? 0)) ? window : undefined
    const type = types[layer] ?? refuse(file, 'layer_types', types, 'it must have an entry for each layer')
    return type === 'sliding_attention' ? window : undefined
  })
}

const ROPE_TYPES = ['default', 'linear', 'llama3', 'yarn']

/**
 * As transformers: the old field before the new one, the angle's base inside it before the one beside it, and the original
 * context beside it before the one inside.
 */
function rope(config: ConfigJson, file: string): Pick<ModelConfig, 'ropeTheta' | 'ropeScaling'> {
  const field = config.rope_scaling ? 'rope_scaling' : 'rope_parameters'
  const scaling = config[field] ?? undefined
  const ropeTheta = scaling?.rope_theta ?? config.rope_theta ?? 10_000
  const partial = scaling?.partial_rotary_factor ?? config.partial_rotary_factor ?? 1
  if (partial !== 1) refuse(file, 'partial_rotary_factor', partial, 'supported is 1')
  for (const [name, value] of Object.entries(scaling ?? {})) {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      refuse(file, `${field}.${name}`, value, 'all layers must share one kind of rope')
    }
  }
  return { ropeTheta, ropeScaling: scaling && ropeScaling(scaling, field, config, file) }
}

function ropeScaling(scaling: RopeScaling, field: string, config: ConfigJson, file: string): RopeScaling | undefined {
  const type = scaling.rope_type ?? scaling.type ?? 'default'
  if (!ROPE_TYPES.includes(type)) refuse(file, `${field}.rope_type`, type, `supported are ${ROPE_TYPES.join(', ')}`)
  if (type === 'default') return undefined
  const original = config.original_max_position_embeddings ?? scaling.original_max_position_embeddings
  const factor = scaling.factor ?? (type === 'yarn' && original ? config.max_position_embeddings / original : undefined)
  const needed = { factor, ...(type === 'llama3' ? pick(scaling, ['low_freq_factor', 'high_freq_factor']) : {}) }
  for (const [name, value] of Object.entries(needed)) {
    if (value === undefined || value === null) {
      throw new StartupError(
        `${file}: the field "${field}.${name}" is missing, which ${type} scaling needs: restore it.`,
      )
    }
  }
  return { ...scaling, rope_type: type, factor, original_max_position_embeddings: original }
}

function pick(scaling: RopeScaling, names: readonly (keyof RopeScaling)[]): Record<string, unknown> {
  return Object.fromEntries(names.map((name) => [name, scaling[name]]))
}

function refuse(file: string, field: string, value: unknown, hint: string): never {
  throw new StartupError(`${file}: ${field} = ${showValue(value)} is not supported; ${hint}.`)
}
