// config.json as Hugging Face writes it: the fields that are read, and what each family's configuration class in transformers
// (5.23) takes where a file leaves one out. Knows nothing of what the fields mean.
import * as z from 'zod/mini'
import { StartupError } from '../errors.ts'

const positive = z.int().check(z.positive())
const positiveNumber = z.number().check(z.positive())

/** More than any model has; a damaged number must not become an array of that length. */
const MAX_LAYERS = 10_000
/** Characters of a value in an error. */
const MAX_SHOWN = 120

const RopeScaling = z.looseObject({
  rope_type: z.nullish(z.string()),
  type: z.nullish(z.string()),
  rope_theta: z.nullish(positiveNumber),
  factor: z.nullish(positiveNumber),
  low_freq_factor: z.nullish(positiveNumber),
  high_freq_factor: z.nullish(positiveNumber),
  original_max_position_embeddings: z.nullish(positive),
  attention_factor: z.nullish(positiveNumber),
  beta_fast: z.nullish(positiveNumber),
  beta_slow: z.nullish(positiveNumber),
  mscale: z.nullish(z.number()),
  mscale_all_dim: z.nullish(z.number()),
  truncate: z.nullish(z.boolean()),
  partial_rotary_factor: z.nullish(z.number()),
})
/** `divisors`, one for each rotary frequency, come from GGUF files alone. */
export type RopeScaling = z.infer<typeof RopeScaling> & { readonly divisors?: readonly number[] }

const ConfigJson = z.looseObject({
  model_type: z.string(),
  vocab_size: positive,
  hidden_size: positive,
  num_hidden_layers: z.int().check(z.positive(), z.maximum(MAX_LAYERS)),
  num_attention_heads: positive,
  num_key_value_heads: z.nullish(positive),
  head_dim: z.nullish(positive),
  intermediate_size: positive,
  hidden_act: z.nullish(z.string()),
  max_position_embeddings: positive,
  rope_theta: z.nullish(positiveNumber),
  rope_scaling: z.nullish(RopeScaling),
  rope_parameters: z.nullish(RopeScaling),
  partial_rotary_factor: z.nullish(z.number()),
  original_max_position_embeddings: z.nullish(positive),
  rms_norm_eps: z.nullish(z.number().check(z.nonnegative())),
  tie_word_embeddings: z.nullish(z.boolean()),
  attention_bias: z.nullish(z.boolean()),
  mlp_bias: z.nullish(z.boolean()),
  sliding_window: z.nullish(positive),
  use_sliding_window: z.nullish(z.boolean()),
  max_window_layers: z.nullish(z.int()),
  layer_types: z.nullish(z.array(z.enum(['full_attention', 'sliding_attention']))),
  no_rope_layers: z.nullish(z.array(z.int())),
  no_rope_layer_interval: z.nullish(positive),
  bos_token_id: z.nullish(z.int()),
  eos_token_id: z.nullish(z.union([z.int(), z.array(z.int())])),
  quantization_config: z.optional(z.unknown()),
})
export type ConfigJson = z.infer<typeof ConfigJson>

/** What a file leaves out; what it sets to null is null, in transformers as here. */
const DEFAULTS: Readonly<Record<string, Partial<ConfigJson>>> = {
  mistral: { sliding_window: 4096 },
  qwen2: { sliding_window: 4096, max_window_layers: 28 },
  qwen3: { sliding_window: 4096, max_window_layers: 28, head_dim: 128 },
  smollm3: { rope_theta: 2_000_000, tie_word_embeddings: true, no_rope_layer_interval: 4 },
}

/**
 * `json` is a parsed config.json; `file` names it in errors.
 * @throws StartupError naming the field that is missing or has a value of the wrong kind
 */
export function parseConfigJson(json: unknown, file: string): ConfigJson {
  const type = (json as { model_type?: unknown } | null)?.model_type
  const defaults = typeof type === 'string' && Object.hasOwn(DEFAULTS, type) ? DEFAULTS[type] : {}
  const parsed = ConfigJson.safeParse(isObject(json) ? { ...defaults, ...json } : json)
  if (parsed.success) return parsed.data
  const { path, message } = parsed.error.issues[0]!
  if (path.length === 0) throw new StartupError(`${file} is not a JSON object: restore it.`)
  const value = path.reduce<unknown>((inside, key) => (inside as Record<PropertyKey, unknown>)?.[key], json)
  if (value === undefined) throw new StartupError(`${file}: the field "${path.join('.')}" is missing: restore it.`)
  throw new StartupError(
    `${file}: field "${path.join('.')}" = ${showValue(value)} is wrong or not supported: ${message}.`,
  )
}

/** A value for an error's sentence; a long one by its beginning. */
export function showValue(value: unknown): string {
  const text = JSON.stringify(value)
  return text.length <= MAX_SHOWN ? text : `${text.slice(0, MAX_SHOWN)}...`
}

function isObject(json: unknown): json is Record<string, unknown> {
  return typeof json === 'object' && json !== null && !Array.isArray(json)
}
