// Embeddings from the hidden states of prompts' tokens, chunk by chunk: their mean, of length one.
import { overflow } from '../../sampling/sampler.ts'
import type { Sequence } from '../../scheduler/sequence.ts'

export class MeanPools {
  readonly #hiddenSize: number
  readonly #sums = new WeakMap<Sequence, Float64Array>()

  constructor(hiddenSize: number) {
    this.#hiddenSize = hiddenSize
  }

  /** `hidden`: [tokens, hiddenSize] f32, of the sequence's next tokens */
  add(sequence: Sequence, hidden: Float32Array): void {
    const sums = this.#sumsOf(sequence)
    for (let i = 0; i < hidden.length; i++) sums[i % sums.length]! += hidden[i]!
  }

  /** [hiddenSize] f32, L2-normalised, so that the number of tokens does not matter. @throws BackendError `invalid_delta` where a number is none */
  embedding(sequence: Sequence): Float32Array {
    const sums = this.#sumsOf(sequence)
    const norm = Math.hypot(...sums)
    if (!Number.isFinite(norm)) throw overflow()
    return Float32Array.from(sums, (sum) => sum / (norm || 1))
  }

  #sumsOf(sequence: Sequence): Float64Array {
    let sums = this.#sums.get(sequence)
    if (!sums) {
      sums = new Float64Array(this.#hiddenSize)
      this.#sums.set(sequence, sums)
    }
    return sums
  }
}
