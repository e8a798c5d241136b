// A GGUF file's metadata as the config.json that it was made from. Knows no weights but their names.
// Invariant: what llama.cpp would compute with and we would not is refused, so that no file runs wrongly.
import type { GgufHeader, GgufValue } from '../../adapters/gguf.ts'
import { StartupError } from '../errors.ts'
import { type ModelConfig, parseModelConfig } from './model-config.ts'

/** Metadata that changes the model in a way that is not supported, and the value that changes nothing. */
const NEUTRAL: Readonly<Record<string, number>> = {
  expert_count: 0,
  'rope.scaling.attn_factor': 1,
  'attention.scale': 0,
  attn_logit_softcapping: 0,
  final_logit_softcapping: 0,
  logit_scale: 1,
  residual_scale: 1,
  embedding_scale: 1,
}

/**
 * `ropeDivisors` are what each rotary frequency is divided by, where the file has them.
 * @throws StartupError naming what is missing or not supported
 */
export function ggufConfig(
  path: string,
  { metadata, tensors }: GgufHeader,
  ropeDivisors: readonly number[] | undefined,
): ModelConfig {
  const architecture = String(metadata.get('general.architecture'))
  const get = (key: string): GgufValue | undefined => metadata.get(`${architecture}.${key}`)
  refuseSpecial(path, architecture, get, metadata)
  const tokens = metadata.get('tokenizer.ggml.tokens')
  const headDim = get('attention.key_length') ?? Number(get('embedding_length')) / Number(get('attention.head_count'))
  const rotary = get('rope.dimension_count') ?? headDim
  const config = parseModelConfig(
    {
      // llama.cpp's names of the architectures that are taken are transformers' too.
      model_type: architecture,
      vocab_size: Array.isArray(tokens) ? tokens.length : get('vocab_size'),
      hidden_size: get('embedding_length'),
      num_hidden_layers: get('block_count'),
      num_attention_heads: get('attention.head_count'),
      num_key_value_heads: get('attention.head_count_kv'),
      head_dim: headDim,
      intermediate_size: get('feed_forward_length'),
      max_position_embeddings: get('context_length'),
      rope_theta: get('rope.freq_base') ?? 10_000,
      partial_rotary_factor: Number(rotary) / Number(headDim),
      rope_scaling: ropeScaling(get),
      rms_norm_eps: get('attention.layer_norm_rms_epsilon'),
      tie_word_embeddings: !tensors.has('output.weight'),
      attention_bias: tensors.has('blk.0.attn_q.bias'),
      mlp_bias: tensors.has('blk.0.ffn_gate.bias'),
      bos_token_id: metadata.get('tokenizer.ggml.bos_token_id'),
      // Any of them ends an answer: of the text, of a turn, of a message.
      eos_token_id: ['eos', 'eot', 'eom']
        .map((end) => metadata.get(`tokenizer.ggml.${end}_token_id`))
        .filter((id) => id !== undefined),
    },
    path,
  )
  if (!ropeDivisors) return config
  if (ropeDivisors.length !== config.headDim / 2 || config.ropeScaling) {
    throw new StartupError(`${path}: the tensor rope_freqs.weight does not fit the heads: the file is damaged.`)
  }
  return { ...config, ropeScaling: { rope_type: 'divisors', divisors: ropeDivisors } }
}

type Get = (key: string) => GgufValue | undefined

function refuseSpecial(path: string, architecture: string, get: Get, metadata: GgufHeader['metadata']): void {
  const parts = metadata.get('split.count')
  if (typeof parts === 'number' && parts > 1) {
    throw new StartupError(`${path} is one of ${parts} parts of a model: merge them with llama-gguf-split --merge.`)
  }
  for (const [key, neutral] of Object.entries(NEUTRAL)) {
    const value = get(key)
    if (value === undefined || value === neutral) continue
    throw new StartupError(
      `${path}: ${architecture}.${key} = ${String(value)} is not supported; supported is ${neutral}.`,
    )
  }
}

function ropeScaling(get: Get): object | null {
  const type = get('rope.scaling.type')
  // What files had before there were types.
  const linear = get('rope.scale_linear')
  if (type === undefined) return linear === undefined || linear === 1 ? null : { rope_type: 'linear', factor: linear }
  if (type === 'none') return null
  return {
    rope_type: type,
    factor: get('rope.scaling.factor'),
    original_max_position_embeddings: get('rope.scaling.original_context_length'),
    beta_fast: get('rope.scaling.yarn_beta_fast'),
    beta_slow: get('rope.scaling.yarn_beta_slow'),
  }
}
