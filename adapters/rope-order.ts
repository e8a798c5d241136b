// Rotary embeddings pair values either side by side (Meta, Mistral, llama.cpp) or half a head apart (Hugging Face).
// Knows only the row order of q and k. Invariant: a permutation within each head; no value changes.

/**
 * Rows of B [heads·d, r] from interleaved to Hugging Face's order: HF row h·d + t·d/2 + p = interleaved row h·d + 2p + t,
 * t in {0, 1}. The inverse of transformers' `permute_for_rope`'s input, applied to B because A does not see output rows.
 */
export function deinterleaveRows(b: Float32Array, heads: number, headDim: number): Float32Array {
  const rank = b.length / (heads * headDim)
  const result = new Float32Array(b.length)
  for (let head = 0; head < heads; head++) {
    for (let row = 0; row < headDim; row++) {
      const t = row < headDim / 2 ? 0 : 1
      const from = head * headDim + 2 * (row - (t * headDim) / 2) + t
      const to = head * headDim + row
      result.set(b.subarray(from * rank, (from + 1) * rank), to * rank)
    }
  }
  return result
}
