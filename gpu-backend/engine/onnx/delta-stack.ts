// One group's changes for rows with different deltas: a copy a row, padded to the largest rank among them, or to what the
// stack has from before where that is less than twice as much.
// Invariant: a row without a change has A = B = 0 (of bytes: their scales), so its result is the base model's.
import { type DeltaFactor, factorDims, factorName } from '../../model/delta-factors.ts'
import type { ProjectionGroup } from '../../model/projection-groups.ts'
import type { FloatType } from '../../model/weight-formats.ts'
import { copyColumns, type PackedDelta, type PackedGroup } from '../../residency/packed-delta.ts'
import type { DeltaTensor } from './delta-tensors.ts'
import { type FloatArray, floatArray } from './float-array.ts'

export class DeltaStack {
  readonly #group: ProjectionGroup
  readonly #index: number
  readonly #maxRows: number
  readonly #floatType: FloatType
  /** The padded rank; 0: nothing was ever stacked. */
  #rank = 0
  /** [maxRows, projections, rank, in] floats, or [maxRows, in, projections, rank] bytes */
  #a: FloatArray | Uint8Array = new Uint8Array(0)
  /** [maxRows, projections, rank] f32, of bytes alone */
  #scales = new Float32Array(0)
  /** [maxRows, out, rank] */
  #b: FloatArray = new Float32Array(0)
  /** The digest that each row holds now; null: no change. */
  #rows: (string | null)[] = []

  /** `index`: the group's, among those that deltas are packed by. */
  constructor(group: ProjectionGroup, index: number, maxRows: number, floatType: FloatType) {
    this.#group = group
    this.#index = index
    this.#maxRows = maxRows
    this.#floatType = floatType
  }

  /**
   * Puts `deltas` into the rows; what lies there already is left. Returns the rank that every row has then, 0 where none of
   * them changes anything here and nothing need be stacked, and whether anything was put.
   * @throws RangeError where there is no memory for it; the stack is as before then
   */
  fill(deltas: readonly (PackedDelta | null)[]): { rank: number; filled: boolean } {
    const changes = deltas.map((delta) => delta?.groups[this.#index])
    const needed = Math.max(...changes.map((change) => change?.rank ?? 0))
    if (needed === 0) return { rank: 0, filled: false }
    this.#fitRank(needed)
    let filled = false
    for (const [row, delta] of deltas.entries()) {
      const digest = delta?.digest ?? null
      if (this.#rows[row] === digest) continue
      this.#fillRow(row, changes[row])
      this.#rows[row] = digest
      filled = true
    }
    return { rank: this.#rank, filled }
  }

  /** The graph's inputs for `rows` rows from `first` on. */
  tensors(first: number, rows: number): DeltaTensor<FloatArray | Uint8Array>[] {
    const tensor = (factor: DeltaFactor, all: FloatArray | Uint8Array) => {
      const dims = factorDims(this.#group, factor, this.#rank)
      const size = dims.reduce((product, dim) => product * dim, 1)
      const values = all.subarray(first * size, (first + rows) * size)
      return { name: factorName(this.#group, factor), factor, values, dims: [rows, ...dims] }
    }
    const scales = this.#group.smoothing ? [tensor('A_scales', this.#scales)] : []
    return [tensor('A', this.#a), ...scales, tensor('B', this.#b)]
  }

  /** Changes the padded rank when the rows need more, or no more than half of it; every row is then filled again. */
  #fitRank(rank: number): void {
    if (rank <= this.#rank && rank > this.#rank / 2) return
    const { in: inSize, out, projections, smoothing } = this.#group
    const columns = this.#maxRows * projections.length * rank
    // All or none: there may be no memory for one of them.
    const a = smoothing ? new Uint8Array(columns * inSize) : floatArray(this.#floatType, columns * inSize)
    const scales = new Float32Array(smoothing ? columns : 0)
    const b = floatArray(this.#floatType, this.#maxRows * out * rank)
    this.#rank = rank
    this.#a = a
    this.#scales = scales
    this.#b = b
    // Fresh memory is zero, which is what a row of the base model holds.
    this.#rows = Array.from({ length: this.#maxRows }, () => null)
  }

  #fillRow(row: number, change: PackedGroup | undefined): void {
    const rank = this.#rank
    const { in: inSize, out, projections, smoothing } = this.#group
    const columns = projections.length * rank
    const a = this.#a.subarray(row * columns * inSize, (row + 1) * columns * inSize)
    const scales = this.#scales.subarray(row * columns, (row + 1) * columns)
    const b = this.#b.subarray(row * out * rank, (row + 1) * out * rank)
    if (!change || change.rank < rank) {
      // Bytes count for nothing where their scale is zero.
      ;(smoothing ? scales : a).fill(0)
      b.fill(0)
    }
    if (!change || change.rank === 0) return
    copyColumns(change.b, change.rank, b, rank)
    if (change.a instanceof Float32Array) {
      const values = change.rank * inSize
      for (const i of projections.keys()) {
        a.set(change.a.subarray(i * values, (i + 1) * values), i * rank * inSize)
      }
      return
    }
    copyColumns(change.a.values, change.rank, a, rank)
    copyColumns(change.a.scales, change.rank, scales, rank)
  }
}
