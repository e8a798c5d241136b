// How likely each token of each row is, computed for all rows at once: ONNX Runtime's vectors take a tenth of the time that
// loops of ours take. Knows neither sequences nor what is done with it. Invariant: a row's numbers do not depend on other rows.
import { encodeModel, inlineSizes, type Node } from '../../model/onnx-file.ts'
import { BLOCK_TOKENS, blocksOf, type Likelihoods } from '../../sampling/likelihoods.ts'
import { floats } from './host-arrays.ts'
import type { OnnxRuntime, Session } from './ort.ts'
import { type Binding, whileHeld } from './ort-binding.ts'

/** Of the model's own logits, or of what constraints leave of them. */
export type Purpose = 'own' | 'constrained'

/** Rows of a call at most, whose numbers take four bytes for each token of each: more at once are hardly faster. */
export const SOFTMAX_ROWS = 16

export class RowSoftmax {
  readonly #runtime: OnnxRuntime
  readonly #vocabSize: number
  readonly #blocks: number
  readonly #session: Session
  readonly #binding: Binding
  readonly #scales: Float32Array<ArrayBuffer>
  readonly #results: Readonly<Record<Purpose, Likelihoods>>

  constructor(runtime: OnnxRuntime, vocabSize: number, threads: number) {
    this.#runtime = runtime
    this.#vocabSize = vocabSize
    this.#blocks = blocksOf(vocabSize)
    this.#session = runtime.createSession(softmaxGraph(vocabSize), 'cpu', threads)
    this.#binding = this.#session.createBinding()
    this.#scales = floats(SOFTMAX_ROWS)
    const results = () => ({
      probabilities: floats(SOFTMAX_ROWS * this.#blocks * BLOCK_TOKENS),
      sums: floats(SOFTMAX_ROWS * this.#blocks),
      maxima: floats(SOFTMAX_ROWS * this.#blocks),
    })
    this.#results = { own: results(), constrained: results() }
  }

  /**
   * The likelihoods of `logits` [rows, vocab] f32 at each row's temperature, of those rows that have one; valid until the next
   * call for the same purpose. They are `SOFTMAX_ROWS` at most.
   */
  run(
    logits: Float32Array,
    temperatures: readonly (number | undefined)[],
    purpose: Purpose,
  ): (Likelihoods | undefined)[] {
    const first = temperatures.findIndex((temperature) => temperature !== undefined)
    if (first === -1) return []
    const rows = temperatures.findLastIndex((temperature) => temperature !== undefined) + 1 - first
    for (let row = 0; row < rows; row++) this.#scales[row] = 1 / (temperatures[first + row] ?? 1)
    const [vocab, blocks] = [this.#vocabSize, this.#blocks]
    const { probabilities, sums, maxima } = this.#results[purpose]
    const padded = blocks * BLOCK_TOKENS
    const binding = this.#binding
    whileHeld((host) => {
      const tensor = (data: Float32Array, dims: readonly number[]) => host(this.#runtime.hostTensor(data, 'f32', dims))
      binding.input('logits', tensor(logits.subarray(first * vocab, (first + rows) * vocab), [rows, vocab]))
      binding.input('scales', tensor(this.#scales.subarray(0, rows), [rows, 1]))
      binding.output('probabilities', tensor(probabilities.subarray(0, rows * padded), [rows, padded]))
      binding.output('sums', tensor(sums.subarray(0, rows * blocks), [rows, blocks]))
      binding.output('maxima', tensor(maxima.subarray(0, rows * blocks), [rows, blocks]))
      this.#session.run(binding)
    })
    const part = (all: Float32Array, row: number, size: number) => all.subarray(row * size, (row + 1) * size)
    return temperatures.map((temperature, index) => {
      if (temperature === undefined) return undefined
      const row = index - first
      return {
        probabilities: part(probabilities, row, padded),
        sums: part(sums, row, blocks),
        maxima: part(maxima, row, blocks),
      }
    })
  }

  release(): void {
    this.#binding.release()
    this.#session.release()
  }
}

function softmaxGraph(vocabSize: number): Uint8Array {
  const blocks = blocksOf(vocabSize)
  const missing = blocks * BLOCK_TOKENS - vocabSize
  const node = (op: string, inputs: string[], output: string, attributes: Node['attributes'] = {}): Node => {
    return { op, domain: '', inputs, outputs: [output], attributes }
  }
  return encodeModel({
    nodes: [
      node('Mul', ['logits', 'scales'], 'scaled'),
      node('Softmax', ['scaled'], missing > 0 ? 'unfilled' : 'probabilities', { axis: -1 }),
      ...(missing > 0 ? [node('Pad', ['unfilled', 'filling'], 'probabilities')] : []),
      node('Reshape', ['probabilities', 'block_sizes'], 'blocks'),
      node('ReduceSum', ['blocks', 'last_axis'], 'sums', { keepdims: 0 }),
      node('ReduceMax', ['blocks', 'last_axis'], 'maxima', { keepdims: 0 }),
    ],
    inputs: [
      { name: 'logits', type: 'f32', dims: ['rows', vocabSize] },
      { name: 'scales', type: 'f32', dims: ['rows', 1] },
    ],
    outputs: [
      { name: 'probabilities', type: 'f32', dims: ['rows', blocks * BLOCK_TOKENS] },
      { name: 'sums', type: 'f32', dims: ['rows', blocks] },
      { name: 'maxima', type: 'f32', dims: ['rows', blocks] },
    ],
    initializers: [
      inlineSizes('filling', [0, 0, 0, missing]),
      inlineSizes('block_sizes', [-1, blocks, BLOCK_TOKENS]),
      inlineSizes('last_axis', [-1]),
    ],
  })
}
