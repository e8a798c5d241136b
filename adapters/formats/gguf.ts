// llama.cpp's adapters: one GGUF file of general.type "adapter", as convert_lora_to_gguf.py writes it.
// Follows convert_lora_to_gguf.py, conversion/llama.py and src/llama-adapter.cpp.
// Invariant: s = alpha / r with the pair's own r, 1 where alpha is 0 or missing, exactly as llama.cpp applies it.
import { type DeltaSource, type ModuleSource, scaleInPlace } from '../delta-source.ts'
import { AdapterError, quote } from '../errors.ts'
import type { ImportOptions } from '../import-options.ts'
import { ModuleNames } from '../modules.ts'
import { deinterleaveRows, GGUF_INTERLEAVED, rotaryHeads } from '../rope-order.ts'
import type { SourceTensor, TensorFile } from '../source-tensor.ts'
import { transpose } from '../transpose.ts'
import { partnerOf } from './partner.ts'

const MODULES: Readonly<Record<string, string>> = {
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_output: 'self_attn.o_proj',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
}
const KEY = /^(?:blk\.(\d+)\.(\w+)|output|token_embd)\.weight\.lora_([ab])$/

/** A delta source from an opened GGUF adapter. Throws AdapterError. */
export function readGguf(weights: TensorFile, options: ImportOptions): DeltaSource {
  const { metadata } = weights
  const type = metadata.get('general.type') ?? 'model'
  if (type !== 'adapter') {
    throw new AdapterError(
      'unsupported',
      `${weights.file} has general.type ${quote(type)}: it is not a LoRA adapter; give the file of convert_lora_to_gguf.py.`,
    )
  }
  if (metadata.get('adapter.type') !== 'lora') {
    throw new AdapterError(
      'unsupported',
      `${weights.file} has adapter.type ${quote(metadata.get('adapter.type') ?? '')}; only "lora" can be served.`,
    )
  }
  if (metadata.has('adapter.alora.invocation_tokens')) {
    throw new AdapterError(
      'unsupported',
      `${weights.file} has adapter.alora.invocation_tokens: an activated LoRA acts only after them; train without them.`,
    )
  }
  const architecture = metadata.get('general.architecture') ?? ''
  const interleaved = GGUF_INTERLEAVED.get(architecture)
  if (interleaved === undefined) {
    throw new AdapterError(
      'unsupported',
      `${weights.file} is for general.architecture ${quote(architecture)}; supported are ${[...GGUF_INTERLEAVED.keys()].join(', ')}.`,
    )
  }
  const alpha = metadata.get('adapter.lora.alpha')
  // An empty text would count as 0, which llama.cpp takes as a scale of 1.
  return readPairs(weights, interleaved, alpha?.trim() === '' ? Number.NaN : Number(alpha ?? 0), options)
}

function readPairs(weights: TensorFile, interleaved: boolean, alpha: number, options: ImportOptions): DeltaSource {
  const names = new ModuleNames(options.base)
  const modules = new Map<string, ModuleSource>()
  const notices: string[] = []
  if (!Number.isFinite(alpha))
    throw new AdapterError(
      'malformed',
      `${weights.file}: adapter.lora.alpha is not a number; convert the adapter again.`,
    )
  if (alpha === 0) notices.push('adapter.lora.alpha is missing or 0, which llama.cpp takes as a scale of 1.')
  for (const tensor of weights.tensors.values()) {
    const match = KEY.exec(tensor.name)
    if (match === null) {
      if (!tensor.name.endsWith('_norm.weight'))
        throw new AdapterError(
          'unsupported',
          `${weights.file}: ${quote(tensor.name)} is not a LoRA tensor; save only the adapter.`,
        )
      notices.push(`${quote(tensor.name)} was left out, as llama.cpp does.`)
      continue
    }
    const [, layer, module, side] = match
    const other = `${tensor.name.slice(0, -1)}${side === 'a' ? 'b' : 'a'}`
    const partner = partnerOf(tensor, other, weights, 'convert the adapter again')
    if (side === 'b') continue
    const known = module === undefined ? undefined : MODULES[module]
    const name = tensor.name.startsWith('token_embd')
      ? 'model.embed_tokens'
      : module === undefined
        ? 'lm_head'
        : `model.layers.${layer}.${known ?? module}`
    const path = names.find(name, tensor.name)
    modules.set(path, moduleSource(path, tensor, partner, alpha, interleaved, names, options))
  }
  if (modules.size === 0)
    throw new AdapterError('ineffective', `${weights.file} holds no LoRA tensors; convert the adapter again.`)
  return { metadata: { base: options.base.fingerprint, sourceFormat: 'gguf' }, modules, notices }
}

function moduleSource(
  path: string,
  a: SourceTensor,
  b: SourceTensor,
  alpha: number,
  interleaved: boolean,
  names: ModuleNames,
  { base }: ImportOptions,
): ModuleSource {
  // The embedding's A is stored transposed, so that a token's column is a row to look up.
  const embedding = path === 'model.embed_tokens'
  const rank = names.pairRank(path, embedding ? { name: a.name, shape: a.shape.toReversed() } : a, b)
  const { in: columns, out } = names.size(path)
  const scale = alpha === 0 ? 1 : alpha / rank
  const rotary = interleaved ? rotaryHeads(path, base) : 0
  const load = async () => {
    const [left, right] = [await a.load(), scaleInPlace(await b.load(), scale)]
    return {
      a: embedding ? transpose(left, columns, rank) : left,
      b: rotary > 0 ? deinterleaveRows(right, rotary, base.head_dim) : right,
    }
  }
  return { rank, in: columns, out, scale, load }
}
