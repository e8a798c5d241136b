// The KV cache: for each layer one K and one V buffer with a row for each slot of the running batch.
// Knows rows and lengths, not whose they are. This one is in host memory; device-kv-cache.ts is its twin on a device.

import type { ModelConfig } from '../../model/model-config.ts'
import type { FloatType } from '../../model/weight-formats.ts'
import type { RowSwap } from '../../scheduler/scheduler.ts'
import { type FloatArray, floatArray, floatBytes, floatsOver } from './float-array.ts'
import { type Pages, reservePages } from './kv-pages.ts'
import type { OnnxRuntime } from './ort.ts'
import type { Value } from './ort-binding.ts'

export interface KvShape {
  readonly layers: number
  readonly kvHeads: number
  readonly headDim: number
  /** Tokens that a row can hold. */
  readonly contextTokens: number
  readonly floatType: FloatType
}

/** Bytes of KV cache for one token of one sequence. */
export function kvBytesPerToken(
  config: Pick<ModelConfig, 'layers' | 'kvHeads' | 'headDim'>,
  floatType: FloatType,
): number {
  return 2 * config.layers * config.kvHeads * config.headDim * floatBytes(floatType)
}

/** A tensor of the cache and the graph's input and output that it is bound to: read and written in place. */
export interface KvTensor {
  readonly past: string
  readonly present: string
  readonly value: Value
}

export interface KvCache {
  /** The cache of `rows` rows from `first` on, for a decode step. */
  batch(first: number, rows: number): readonly KvTensor[]
  /** The cache of the prompt that is being computed in `row`. */
  prefill(row: number): readonly KvTensor[]
  /** The prompt computed in row `from` is done: its first `tokens` tokens become those of row `to` of the batch. */
  join(from: number, to: number, tokens: number): void
  /** Copies the first `tokens` tokens of row `from` of the batch into row `to`. */
  move(from: number, to: number, tokens: number): void
  release(): void
}

/** Names the tensors of all buffers, K and V of each layer alternating. */
export function kvTensors(values: readonly Value[]): KvTensor[] {
  return values.map((value, i) => {
    const name = `${i % 2 === 0 ? 'k' : 'v'}.${i >> 1}`
    return { past: `past_${name}`, present: `present_${name}`, value }
  })
}

export class HostKvCache implements KvCache {
  readonly #runtime: OnnxRuntime
  readonly #shape: KvShape
  /** K and V of each layer alternating: [rows, kvHeads, contextTokens, headDim] */
  readonly #buffers: FloatArray[]
  readonly #rowValues: number
  readonly #pages: Pages | undefined
  /** By row: tokens whose memory it may have been given. */
  readonly #touched: number[]
  readonly bytesPerToken: number
  /** By "first row, rows": the tensors over those rows. */
  readonly #views = new Map<string, readonly KvTensor[]>()

  constructor(runtime: OnnxRuntime, shape: KvShape, rows: number) {
    this.#runtime = runtime
    this.#shape = shape
    this.bytesPerToken = kvBytesPerToken(shape, shape.floatType)
    this.#rowValues = shape.kvHeads * shape.contextTokens * shape.headDim
    this.#touched = new Array<number>(rows).fill(0)
    // All of them at once: many systems fill smaller blocks with zeros themselves, which takes their memory before it is used.
    const values = rows * this.#rowValues
    const bytes = 2 * shape.layers * values * floatBytes(shape.floatType)
    this.#pages = reservePages(bytes)
    const all = floatsOver(shape.floatType, this.#pages?.buffer ?? new ArrayBuffer(bytes))
    this.#buffers = Array.from({ length: 2 * shape.layers }, (_, i) => all.subarray(i * values, (i + 1) * values))
  }

  batch(first: number, rows: number): readonly KvTensor[] {
    return this.#tensors(first, rows)
  }

  prefill(row: number): readonly KvTensor[] {
    return this.#tensors(row, 1)
  }

  join(from: number, to: number, tokens: number): void {
    if (from !== to) this.move(from, to, tokens)
  }

  move(from: number, to: number, tokens: number): void {
    const { headDim } = this.#shape
    this.#forEachHead((buffer, head, stride) => {
      const source = from * this.#rowValues + head * stride
      buffer.copyWithin(to * this.#rowValues + head * stride, source, source + tokens * headDim)
    })
  }

  /** What the two rows hold changes places. */
  swap({ rows, tokens }: RowSwap): void {
    const { headDim, floatType } = this.#shape
    const [ofOne, ofOther] = [tokens[0] * headDim, tokens[1] * headDim]
    const spare = floatArray(floatType, ofOne)
    this.#forEachHead((buffer, head, stride) => {
      const one = rows[0] * this.#rowValues + head * stride
      const other = rows[1] * this.#rowValues + head * stride
      spare.set(buffer.subarray(one, one + ofOne))
      buffer.copyWithin(one, other, other + ofOther)
      buffer.set(spare, other)
    })
  }

  /**
   * To be told of the tokens that each row may hold from now on. Where the memory of all rows is that of more than `most` tokens,
   * what they do not hold of it is given back.
   */
  hold(held: readonly number[], most: number): void {
    for (const [row, tokens] of held.entries()) this.#touched[row] = Math.max(this.#touched[row]!, tokens)
    let over = this.#touched.reduce((sum, tokens) => sum + tokens, 0) - most
    for (let row = held.length - 1; row >= 0 && over > 0; row--) {
      over -= this.#touched[row]! - held[row]!
      this.#giveBack(row, held[row]!)
    }
  }

  /** Tokens `from` .. of `row`, copied into `values`: for each layer K then V, [kvHeads, tokens, headDim]. */
  save(row: number, from: number, tokens: number, values: FloatArray | undefined): FloatArray {
    const { layers, kvHeads, headDim, floatType } = this.#shape
    const size = tokens * headDim
    const copy = values ?? floatArray(floatType, 2 * layers * kvHeads * size)
    let offset = 0
    this.#forEachHead((buffer, head, stride) => {
      const source = row * this.#rowValues + head * stride + from * headDim
      copy.set(buffer.subarray(source, source + size), offset)
      offset += size
    })
    return copy
  }

  /** Copies what `save` returned for as many tokens to `from` .. of `row`. */
  restore(values: FloatArray, row: number, from: number, tokens: number): void {
    const { headDim } = this.#shape
    const size = tokens * headDim
    let offset = 0
    this.#forEachHead((buffer, head, stride) => {
      buffer.set(values.subarray(offset, offset + size), row * this.#rowValues + head * stride + from * headDim)
      offset += size
    })
  }

  release(): void {
    for (const views of this.#views.values()) for (const { value } of views) value.release()
    this.#views.clear()
    this.#pages?.release()
  }

  /** The memory of tokens `from` .. of `row`. */
  #giveBack(row: number, from: number): void {
    const { headDim, floatType } = this.#shape
    const tokenBytes = headDim * floatBytes(floatType)
    const to = this.#touched[row]!
    this.#touched[row] = from
    if (to === from) return
    this.#forEachHead((buffer, head, stride) => {
      const start = buffer.byteOffset + (row * this.#rowValues + head * stride) * floatBytes(floatType)
      this.#pages?.giveBack(start + from * tokenBytes, start + to * tokenBytes)
    })
  }

  #tensors(first: number, count: number): readonly KvTensor[] {
    const key = `${first},${count}`
    let views = this.#views.get(key)
    if (!views) {
      const { kvHeads, contextTokens, headDim, floatType } = this.#shape
      const dims = [count, kvHeads, contextTokens, headDim]
      const values = this.#buffers.map((buffer) => {
        const rows = buffer.subarray(first * this.#rowValues, (first + count) * this.#rowValues)
        return this.#runtime.hostTensor(rows, floatType, dims)
      })
      views = kvTensors(values)
      this.#views.set(key, views)
    }
    return views
  }

  #forEachHead(visit: (buffer: FloatArray, head: number, stride: number) => void): void {
    const { kvHeads, contextTokens, headDim } = this.#shape
    for (const buffer of this.#buffers) {
      for (let head = 0; head < kvHeads; head++) visit(buffer, head, contextTokens * headDim)
    }
  }
}
