// The names of a model's tensors in a GGUF file, as llama.cpp's converter gives them.

const MODULES: Readonly<Record<string, string>> = {
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'self_attn.q_norm': 'attn_q_norm',
  'self_attn.k_norm': 'attn_k_norm',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
  input_layernorm: 'attn_norm',
  post_attention_layernorm: 'ffn_norm',
}
const TOP_LEVEL: Readonly<Record<string, string>> = {
  'model.embed_tokens.weight': 'token_embd.weight',
  'model.norm.weight': 'output_norm.weight',
  'lm_head.weight': 'output.weight',
}

/** The tensor's name in a GGUF file, for its Hugging Face name. */
export function ggufName(name: string): string {
  const [, layer, module, kind] = /^model\.layers\.(\d+)\.(.+)\.(weight|bias)$/.exec(name) ?? []
  return TOP_LEVEL[name] ?? `blk.${layer}.${MODULES[module ?? '']}.${kind}`
}

/** Whether a tensor of a GGUF file is one that the graph reads, or the rotary divisors that its configuration holds. */
export function isKnownGgufTensor(name: string): boolean {
  if (name === ROPE_DIVISORS || Object.values(TOP_LEVEL).includes(name)) return true
  const [, module] = /^blk\.\d+\.(.+)\.(?:weight|bias)$/.exec(name) ?? []
  return module !== undefined && Object.values(MODULES).includes(module)
}

/** What each rotary frequency is divided by: how converters store Llama 3's rope scaling. [headDim / 2] f32 */
export const ROPE_DIVISORS = 'rope_freqs.weight'
