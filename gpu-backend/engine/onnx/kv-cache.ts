// The KV cache: for each layer one K and one V buffer with a row for each slot of the running batch.
// Knows rows and lengths, not whose they are. Host memory: ONNX Runtime reads and writes these buffers in place.
import type { ModelConfig } from '../../model/model-config.ts'
import type { OnnxRuntime, Value } from './ort.ts'

export interface KvShape {
  readonly layers: number
  readonly kvHeads: number
  readonly headDim: number
  /** Tokens that a row can hold. */
  readonly contextTokens: number
}

/** Bytes of KV cache for one token of one sequence. */
export function kvBytesPerToken(config: Pick<ModelConfig, 'layers' | 'kvHeads' | 'headDim'>): number {
  return 2 * config.layers * config.kvHeads * config.headDim * Float32Array.BYTES_PER_ELEMENT
}

/** A saved stretch of one row: for each layer K then V, [kvHeads, tokens, headDim] f32. */
export interface KvSnapshot {
  readonly tokens: number
  readonly values: Float32Array
}

export class KvCache {
  readonly #runtime: OnnxRuntime
  readonly #shape: KvShape
  /** K and V of each layer alternating: [rows, kvHeads, contextTokens, headDim] f32 */
  readonly #buffers: Float32Array<ArrayBuffer>[]
  readonly #rowValues: number
  /** By "first row, rows": the tensors over those rows, in the order of the buffers. */
  readonly #views = new Map<string, Value[]>()

  constructor(runtime: OnnxRuntime, shape: KvShape, rows: number) {
    this.#runtime = runtime
    this.#shape = shape
    this.#rowValues = shape.kvHeads * shape.contextTokens * shape.headDim
    this.#buffers = Array.from({ length: 2 * shape.layers }, () => new Float32Array(rows * this.#rowValues))
  }

  /** The graph's inputs and outputs that hold the cache of rows `first` .. `first + count - 1`. */
  tensors(first: number, count: number): { past: string; present: string; value: Value }[] {
    const key = `${first},${count}`
    let views = this.#views.get(key)
    if (!views) {
      const { kvHeads, contextTokens, headDim } = this.#shape
      const dims = [count, kvHeads, contextTokens, headDim]
      views = this.#buffers.map((buffer) => {
        const rows = buffer.subarray(first * this.#rowValues, (first + count) * this.#rowValues)
        return this.#runtime.hostTensor(rows, 'f32', dims)
      })
      this.#views.set(key, views)
    }
    return views.map((value, i) => {
      const name = `${i % 2 === 0 ? 'k' : 'v'}.${i >> 1}`
      return { past: `past_${name}`, present: `present_${name}`, value }
    })
  }

  /** Copies the first `tokens` tokens of row `from` into row `to`. */
  copyRow(from: number, to: number, tokens: number): void {
    const { headDim } = this.#shape
    this.#forEachHead((buffer, head, stride) => {
      const source = from * this.#rowValues + head * stride
      buffer.copyWithin(to * this.#rowValues + head * stride, source, source + tokens * headDim)
    })
  }

  /** The first `tokens` tokens of `row`, copied out. */
  save(row: number, tokens: number): KvSnapshot {
    const { layers, kvHeads, headDim } = this.#shape
    const values = new Float32Array(2 * layers * kvHeads * tokens * headDim)
    let offset = 0
    this.#forEachHead((buffer, head, stride) => {
      const source = row * this.#rowValues + head * stride
      values.set(buffer.subarray(source, source + tokens * headDim), offset)
      offset += tokens * headDim
    })
    return { tokens, values }
  }

  /** Copies the first `tokens` tokens of a saved stretch to the start of `row`. */
  restore(snapshot: KvSnapshot, row: number, tokens: number): void {
    const { headDim } = this.#shape
    let offset = 0
    this.#forEachHead((buffer, head, stride) => {
      buffer.set(snapshot.values.subarray(offset, offset + tokens * headDim), row * this.#rowValues + head * stride)
      offset += snapshot.tokens * headDim
    })
  }

  release(): void {
    for (const views of this.#views.values()) for (const view of views) view.release()
    this.#views.clear()
  }

  #forEachHead(visit: (buffer: Float32Array, head: number, stride: number) => void): void {
    const { kvHeads, contextTokens, headDim } = this.#shape
    for (const buffer of this.#buffers) {
      for (let head = 0; head < kvHeads; head++) visit(buffer, head, contextTokens * headDim)
    }
  }
}
