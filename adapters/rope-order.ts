// Rotary embeddings pair values either side by side (Meta, Mistral, llama.cpp) or half a head apart (Hugging Face).
// Knows only the row order of q and k, of weights and of adapters' B alike (A does not see output rows).
// Invariant: a permutation within each head; no value changes.
import type { BaseModel } from './base-model.ts'

/** Architectures by their GGUF names -> whether llama.cpp stores q and k with interleaved rotary pairs. */
export const GGUF_INTERLEAVED: ReadonlyMap<string, boolean> = new Map([
  ['llama', true],
  ['smollm3', true],
  ['qwen2', false],
  ['qwen3', false],
])

/** Heads whose rows are paired in what a module, or a tensor of it, gives: those of q or k; 0 for any other. */
export function rotaryHeads(name: string, { heads, kv_heads }: Pick<BaseModel, 'heads' | 'kv_heads'>): number {
  if (/\.q_proj\b/.test(name)) return heads
  return /\.k_proj\b/.test(name) ? kv_heads : 0
}

/**
 * Rows of `values` [heads·d, columns] from interleaved to Hugging Face's order: HF row h·d + t·d/2 + p = interleaved row
 * h·d + 2p + t, t in {0, 1}. Undoes transformers' `permute_for_rope`.
 */
export function deinterleaveRows(values: Float32Array, heads: number, headDim: number): Float32Array {
  const columns = values.length / (heads * headDim)
  const result = new Float32Array(values.length)
  for (let head = 0; head < heads; head++) {
    for (let row = 0; row < headDim; row++) {
      const t = row < headDim / 2 ? 0 : 1
      const from = head * headDim + 2 * (row - (t * headDim) / 2) + t
      const to = head * headDim + row
      result.set(values.subarray(from * columns, (from + 1) * columns), to * columns)
    }
  }
  return result
}
