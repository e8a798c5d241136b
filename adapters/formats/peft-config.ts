// PEFT's adapter_config.json: what of it changes the meaning of the tensors, and every setting that can't be a plain delta.
// Knows no tensors. Invariant: a setting that would change the result is either applied by peft.ts or refused here by name.
import * as z from 'zod/mini'
import { AdapterError, quote } from '../errors.ts'

/** One for each module of the largest models would be a tenth of this. */
const MAX_ENTRIES = 10_000

const pattern = z.optional(z.nullable(z.record(z.string(), z.unknown())))

/** The fields that are read. */
const Config = z.looseObject({
  peft_type: z.string(),
  r: z.optional(z.nullable(z.number())),
  lora_alpha: z.optional(z.nullable(z.number())),
  use_rslora: z.optional(z.nullable(z.boolean())),
  ensure_weight_tying: z.optional(z.nullable(z.boolean())),
  rank_pattern: pattern,
  alpha_pattern: pattern,
  target_modules: z.optional(z.unknown()),
  exclude_modules: z.optional(z.unknown()),
  enable_lora: z.optional(z.unknown()),
  init_lora_weights: z.optional(z.unknown()),
  bias: z.optional(z.nullable(z.string())),
  layers_to_transform: z.optional(z.unknown()),
  modules_to_save: z.optional(z.nullable(z.array(z.string()).check(z.maxLength(MAX_ENTRIES)))),
  base_model_name_or_path: z.optional(z.nullable(z.string())),
  peft_version: z.optional(z.nullable(z.string())),
})

export interface PeftConfig {
  readonly r: number | undefined
  readonly alpha: number | undefined
  readonly rslora: boolean
  /** Whether a tied head's factors are the embedding's; its r and alpha are its own all the same. */
  readonly tiesWeights: boolean
  readonly rankPattern: ReadonlyMap<string, number>
  readonly alphaPattern: ReadonlyMap<string, number>
  /** PEFT 0.6 to 0.13: the first key of both patterns together that hits a module decides for rank and alpha alike. */
  readonly jointPatterns: boolean
  /** As in the file: a list, one regular expression, or absent (the architecture's default). */
  readonly targetModules: readonly string[] | string | undefined
  readonly modulesToSave: readonly string[]
  /** Whether biases of the base model were trained; PEFT 0.7 to 0.20 did not save those of "lora_only". */
  readonly trainsBias: boolean
  /** As in the file: a list, one regular expression, or absent. */
  readonly excludeModules: readonly string[] | string | undefined
  /** The layers that were meant, where not all were. */
  readonly layers: ReadonlySet<number> | undefined
  /** From PEFT 0.1 and 0.2: which thirds of a fused projection have LoRA. */
  readonly enableLora: readonly boolean[] | undefined
  /** Set, but known to none of PEFT's versions up to 0.21: PEFT warns of such and ignores them. */
  readonly unknownFields: readonly string[]
}

/** Settings that make more or something else than W + s·B·A, with why, as a customer would look for them. */
const REFUSED: readonly (readonly [field: string, why: string])[] = [
  ['use_dora', 'DoRA rescales the base weights; train with use_dora false, or merge and extract a plain LoRA'],
  ['use_qalora', 'QALoRA pools the input of A; train with use_qalora false'],
  ['use_bdlora', 'its A or B is block-diagonal; train a plain LoRA'],
  ['kasa_config', 'KaSA changes the base weights; train a plain LoRA'],
  ['arrow_config', 'Arrow routes between several adapters; publish them one by one'],
  ['alora_invocation_tokens', 'an activated LoRA acts only after these tokens; train without them'],
  ['trainable_token_indices', 'it replaces rows of the embeddings; train without it'],
  ['target_parameters', 'it changes parameters that are not linear layers; use target_modules'],
  ['layer_replication', 'it renumbers the layers of the base model; train on the base model as it is'],
]

/** What else PEFT's LoraConfig has had from 0.1 to 0.21 that leaves W + s·B·A as it is; biases and the like show in the tensors. */
const HARMLESS = [
  ...['task_type', 'auto_mapping', 'revision', 'inference_mode', 'lora_dropout', 'fan_in_fan_out', 'merge_weights'],
  ...['layers_pattern', 'megatron_config', 'megatron_core', 'runtime_config', 'lora_bias', 'monteclora_config'],
  ...['loftq_config', 'eva_config', 'corda_config', 'lora_ga_config', 'velora_config', 'qalora_group_size'],
]
const KNOWN = new Set([...Object.keys(Config.shape), ...REFUSED.map(([field]) => field), ...HARMLESS])

/** Initialisations that move part of the base weights into A and B. */
const RESIDUAL_INITS = /^(?:pissa.*|olora|corda|lora_ga|loftq)$/i
/** Those that do not, beside true and false. */
const PLAIN_INITS = /^(?:gaussian|eva|orthogonal|mica)$/i

/** Every PEFT since 0.14 writes its first two; the version itself only since 0.18. */
const SINCE_0_14 = ['lora_bias', 'exclude_modules', 'peft_version']

/** Throws AdapterError `unsupported` or `malformed` with the name of the field. */
export function parsePeftConfig(json: unknown, file: string): PeftConfig {
  const parsed = Config.safeParse(json)
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    throw new AdapterError(
      'malformed',
      `${file}: ${quote(issue?.path.join('.') ?? '')} is not what PEFT writes (${issue?.message}); correct it.`,
    )
  }
  const config = parsed.data
  if (config.peft_type.toUpperCase() !== 'LORA') {
    throw new AdapterError(
      'unsupported',
      `${file}: peft_type ${quote(config.peft_type)} is not LoRA; train a LoRA, or save it again with PEFT's save_as_lora, which converts some methods.`,
    )
  }
  for (const [field, why] of REFUSED) {
    if (isSet(config[field])) throw new AdapterError('unsupported', `${file}: ${field} is set: ${why}.`)
  }
  const init = config.init_lora_weights
  if (typeof init === 'string' && !PLAIN_INITS.test(init)) {
    const why = RESIDUAL_INITS.test(init)
      ? 'changed the base weights, so these tensors do not fit the published base; save again with path_initial_model_for_weight_conversion'
      : 'is unknown to PEFT up to 0.21 and may have changed the base weights; write true in its place if it did not'
    throw new AdapterError('unsupported', `${file}: init_lora_weights ${quote(init)} ${why}.`)
  }
  return {
    r: positive(config.r, 'r', file),
    alpha: finite(config.lora_alpha, 'lora_alpha', file),
    rslora: config.use_rslora === true,
    tiesWeights: config.ensure_weight_tying === true,
    rankPattern: numbers(config.rank_pattern, 'rank_pattern', file),
    alphaPattern: numbers(config.alpha_pattern, 'alpha_pattern', file),
    jointPatterns: !SINCE_0_14.some((field) => field in config),
    targetModules: names(config.target_modules, 'target_modules', file),
    excludeModules: names(config.exclude_modules, 'exclude_modules', file),
    modulesToSave: config.modules_to_save ?? [],
    trainsBias: (config.bias ?? 'none') !== 'none',
    layers: layers(config.layers_to_transform, file),
    enableLora: flags(config.enable_lora),
    unknownFields: Object.keys(config).filter((field) => !KNOWN.has(field) && isSet(config[field])),
  }
}

/** Anything but null, false, {}, [] and "". */
function isSet(value: unknown): boolean {
  if (typeof value === 'object' && value !== null) return Object.keys(value).length > 0
  return Boolean(value)
}

function positive(value: number | null | undefined, field: string, file: string): number | undefined {
  if (value === null || value === undefined) return undefined
  if (Number.isInteger(value) && value > 0) return value
  throw new AdapterError('malformed', `${file}: ${field} is ${value}; it must be a positive integer.`)
}

function finite(value: number | null | undefined, field: string, file: string): number | undefined {
  if (value === null || value === undefined) return undefined
  if (Number.isFinite(value)) return value
  throw new AdapterError('malformed', `${file}: ${field} is ${value}; it must be a number.`)
}

function numbers(
  value: Record<string, unknown> | null | undefined,
  field: string,
  file: string,
): ReadonlyMap<string, number> {
  const map = new Map<string, number>()
  const entries = Object.entries(value ?? {})
  if (entries.length > MAX_ENTRIES) throw tooMany(field, file)
  for (const [key, item] of entries) {
    if (typeof item !== 'number' || !Number.isFinite(item)) {
      throw new AdapterError(
        'malformed',
        `${file}: ${field} has ${quote(key)} with a value that is not a number; correct it.`,
      )
    }
    map.set(key, item)
  }
  return map
}

function tooMany(field: string, file: string): AdapterError {
  return new AdapterError('too_large', `${file}: ${field} has more than ${MAX_ENTRIES} entries; check the file.`)
}

function names(value: unknown, field: string, file: string): readonly string[] | string | undefined {
  if (value === null || value === undefined) return undefined
  if (typeof value === 'string') return value
  if (Array.isArray(value) && value.length > MAX_ENTRIES) throw tooMany(field, file)
  if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value
  throw new AdapterError('malformed', `${file}: ${field} is neither a list of names nor a pattern; correct it.`)
}

/** PEFT takes one number for a list of it, and an empty list for every layer. */
function layers(value: unknown, file: string): ReadonlySet<number> | undefined {
  const list: unknown[] = [value ?? []].flat()
  if (list.length > MAX_ENTRIES) throw tooMany('layers_to_transform', file)
  if (list.length === 0) return undefined
  if (list.every((item) => typeof item === 'number')) return new Set(list)
  throw new AdapterError('malformed', `${file}: layers_to_transform is not a list of numbers; correct it.`)
}

function flags(value: unknown): readonly boolean[] | undefined {
  return Array.isArray(value) && value.every((item) => typeof item === 'boolean') && value.length > 0
    ? value
    : undefined
}
