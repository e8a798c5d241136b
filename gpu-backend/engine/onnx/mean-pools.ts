// An embedding from the hidden states of a prompt's tokens, chunk by chunk: their mean, of length one.
import { overflow } from '../../sampling/sampler.ts'

export class MeanPool {
  readonly #sums: Float64Array

  constructor(hiddenSize: number) {
    this.#sums = new Float64Array(hiddenSize)
  }

  /** `hidden`: [tokens, hiddenSize] f32 */
  add(hidden: Float32Array): void {
    const sums = this.#sums
    for (let i = 0; i < hidden.length; i++) sums[i % sums.length]! += hidden[i]!
  }

  /** [hiddenSize] f32, L2-normalised, so that the number of tokens does not matter. @throws BackendError `invalid_delta` where a number is none */
  embedding(): Float32Array {
    const norm = Math.hypot(...this.#sums)
    if (!Number.isFinite(norm)) throw overflow()
    return Float32Array.from(this.#sums, (sum) => sum / (norm || 1))
  }
}
