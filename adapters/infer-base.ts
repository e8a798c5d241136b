// Guesses the base model's sizes from an adapter's own tensors, so that a file can be looked at without its base.
// Knows only names and shapes. Invariant: good for reading and reporting; never for publishing, where the real base counts.
import type { BaseModel } from './base-model.ts'
import { AdapterError, quote } from './errors.ts'
import type { SourceTensor } from './source-tensor.ts'

/** What each module's name ends with, in the projects' different words; then the side of the pair. */
const NAMES: Readonly<Record<string, RegExp>> = {
  query: /(?:\bq_proj|\.wq|\.attn_q)\b/,
  key: /(?:\bk_proj|\.wk|\.attn_k)\b/,
  value: /(?:\bv_proj|\.wv|\.attn_v)\b/,
  output: /(?:\bo_proj|\.wo|\.attn_output)\b/,
  gate: /(?:\bgate_proj|\bup_proj|\.w1|\.w3|\.ffn_gate|\.ffn_up)\b/,
  down: /(?:\bdown_proj|\.w2|\.ffn_down)\b/,
  head: /(?:\blm_head|^output)\b/,
  embedding: /(?:\bembed_tokens|^token_embd)\b/,
}
/** A tensor of a pair, and its side; MLX's end with the small letter and lie as [in, rank] and [rank, out]. */
const SIDE = /\.lora_(?:embedding_)?([ab])\b/i
const MLX_SIDE = /(?<!\.weight)\.lora_[ab]$/
/** The deepest models have some 130 layers. */
const MAX_LAYERS = 10_000
const LAYER = /(?:^|\.)(?:layers|blk|h)\.(\d+)\./
/** No model's: tensors do not show which base they are for. */
export const UNKNOWN_FINGERPRINT = `sha256:${'0'.repeat(64)}`

/** Sizes as the tensors show them; 1 where they show nothing. The fingerprint is UNKNOWN_FINGERPRINT. Throws AdapterError `malformed`. */
export function inferBase(tensors: Iterable<SourceTensor>): BaseModel {
  const seen = new Map<string, { in: number; out: number }>()
  let layers = 1
  for (const { name, shape } of tensors) {
    layers = Math.max(layers, Number(LAYER.exec(name)?.[1] ?? 0) + 1)
    if (layers > MAX_LAYERS)
      throw new AdapterError(
        'malformed',
        `Tensor ${quote(name)} is of a layer that no model has; save the adapter again.`,
      )
    const module = Object.keys(NAMES).find((key) => NAMES[key]!.test(name))
    const side = SIDE.exec(name)?.[1]?.toLowerCase()
    if (module === undefined || side === undefined || shape.length !== 2) continue
    const sizes = seen.get(module) ?? { in: 0, out: 0 }
    const [outer, inner] = MLX_SIDE.test(name) ? [shape[1]!, shape[0]!] : [shape[0]!, shape[1]!]
    if (side === 'a') sizes.in = inner
    else sizes.out = outer
    seen.set(module, sizes)
  }
  const pick = (...sizes: (number | undefined)[]) => sizes.find((size) => size !== undefined && size > 0) ?? 1
  const query = pick(seen.get('query')?.out, seen.get('output')?.in)
  const key = pick(seen.get('key')?.out, seen.get('value')?.out, query)
  const headDim = greatestCommonDivisor(query, key)
  return {
    fingerprint: UNKNOWN_FINGERPRINT,
    name: 'the base that its tensors show',
    architecture: 'unknown',
    layers,
    hidden_size: pick(
      ...['query', 'key', 'value', 'gate', 'head'].map((name) => seen.get(name)?.in),
      seen.get('down')?.out,
      seen.get('output')?.out,
      seen.get('embedding')?.out,
    ),
    intermediate_size: pick(seen.get('gate')?.out, seen.get('down')?.in),
    heads: query / headDim,
    kv_heads: key / headDim,
    head_dim: headDim,
    vocab_size: pick(seen.get('head')?.out, seen.get('embedding')?.in),
    tied_embeddings: false,
  }
}

function greatestCommonDivisor(x: number, y: number): number {
  return y === 0 ? x : greatestCommonDivisor(y, x % y)
}
