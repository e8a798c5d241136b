// One projection group's changes for rows with different deltas: a copy a row, padded to the largest rank among them.
// Invariant: a row without a change has A = B = 0 (of bytes: their scales), so its result is the base model's.
import type { ProjectionGroup } from '../../model/projection-groups.ts'
import type { FloatType } from '../../model/weight-formats.ts'
import { copyColumns, type DeltaTensor, type PackedDelta, type PackedGroup } from '../../residency/packed-delta.ts'
import { type FloatArray, floatArray } from './float-array.ts'

export class DeltaStack {
  readonly #group: ProjectionGroup
  readonly #maxRows: number
  readonly #floatType: FloatType
  /** Index of the group among all. */
  readonly #index: number
  /** The padded rank; 0: nothing was ever stacked. */
  rank = 0
  /** [maxRows, parts * rank, in] floats, or [maxRows, in, parts * rank] bytes */
  #a: FloatArray | Uint8Array = new Uint8Array(0)
  /** [maxRows, parts * rank] f32, of bytes alone */
  #scales = new Float32Array(0)
  /** by part: [maxRows, out, rank] */
  #b: FloatArray[] = []
  /** The digest that each row holds now; null: no change. */
  #rows: (string | null)[] = []

  constructor(group: ProjectionGroup, index: number, maxRows: number, floatType: FloatType) {
    this.#group = group
    this.#index = index
    this.#maxRows = maxRows
    this.#floatType = floatType
  }

  /** Puts `deltas` into the rows, which need `rank`; what lies there already is left. Returns whether anything was put. */
  fill(deltas: readonly (PackedDelta | null)[], rank: number): boolean {
    this.#fitRank(rank)
    let changed = false
    for (const [row, delta] of deltas.entries()) {
      const digest = delta?.digest ?? null
      if (this.#rows[row] === digest) continue
      this.#fillRow(row, delta?.groups[this.#index])
      this.#rows[row] = digest
      changed = true
    }
    return changed
  }

  /** The graph's inputs for the first `rows` rows. */
  tensors(rows: number): DeltaTensor<FloatArray | Uint8Array>[] {
    const { name, in: inSize, parts, smoothing } = this.#group
    const columns = parts.length * this.rank
    const tensor = (input: string, values: FloatArray | Uint8Array, ...dims: number[]) => {
      const size = dims.reduce((product, dim) => product * dim, rows)
      return { name: `${name}.${input}`, values: values.subarray(0, size), dims: [rows, ...dims] }
    }
    return [
      ...(smoothing
        ? [tensor('A', this.#a, inSize, columns), tensor('A_scales', this.#scales, 1, columns)]
        : [tensor('A', this.#a, columns, inSize)]),
      ...parts.map(({ out }, i) => tensor(`B${i}`, this.#b[i]!, out, this.rank)),
    ]
  }

  /** Changes the padded rank when the rows need more, or no more than half of it; every row is then filled again. */
  #fitRank(rank: number): void {
    if (rank <= this.rank && rank > this.rank / 2) return
    const { in: inSize, parts, smoothing } = this.#group
    const columns = this.#maxRows * parts.length * rank
    this.rank = rank
    this.#a = smoothing ? new Uint8Array(columns * inSize) : floatArray(this.#floatType, columns * inSize)
    this.#scales = new Float32Array(smoothing ? columns : 0)
    this.#b = parts.map(({ out }) => floatArray(this.#floatType, this.#maxRows * out * rank))
    // Fresh memory is zero, which is what a row of the base model holds.
    this.#rows = Array.from({ length: this.#maxRows }, () => null)
  }

  #fillRow(row: number, change: PackedGroup | undefined): void {
    const { rank } = this
    const padded = !change || change.rank < rank
    this.#fillA(row, change, padded)
    for (const [part, { out }] of this.#group.parts.entries()) {
      const b = this.#b[part]!.subarray(row * out * rank, (row + 1) * out * rank)
      if (padded) b.fill(0)
      if (change && change.rank > 0) copyColumns(change.b[part]!, change.rank, b, rank)
    }
  }

  #fillA(row: number, change: PackedGroup | undefined, padded: boolean): void {
    const { in: inSize, parts, smoothing } = this.#group
    const columns = parts.length * this.rank
    const a = this.#a.subarray(row * columns * inSize, (row + 1) * columns * inSize)
    const scales = this.#scales.subarray(row * columns, (row + 1) * columns)
    // Bytes count for nothing where their scale is zero.
    if (padded) (smoothing ? scales : a).fill(0)
    if (!change) return
    if (change.a instanceof Float32Array) {
      for (const part of parts.keys()) {
        const values = part * change.rank * inSize
        a.set(change.a.subarray(values, values + change.rank * inSize), part * this.rank * inSize)
      }
      return
    }
    // Each part's columns lie together, in a row of bytes as in the scales.
    copyColumns(change.a.values, change.rank, a, this.rank)
    copyColumns(change.a.scales, change.rank, scales, this.rank)
  }
}
