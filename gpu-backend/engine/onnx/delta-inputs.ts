// Turns "this row runs with that delta" into the graph's A and B inputs.
// Rows that all share one delta (a batch of one, a prefill) read the delta's own memory, one read for all of them.
// Rows with different deltas read stacks, one copy a row, padded to the largest rank among these rows and no further.
// Invariant: a row without a change has A = B = 0, so its result is the base model's.

import type { ProjectionGroup } from '../../model/projection-groups.ts'
import type { FloatType } from '../../model/weight-formats.ts'
import {
  copyColumns,
  type DeltaTensor,
  deltaTensors,
  noChange,
  noChangeTensors,
  type PackedDelta,
  type PackedGroup,
} from '../../residency/packed-delta.ts'
import { type FloatArray, floatArray } from './float-array.ts'
import type { Binding, OnnxRuntime, Value } from './ort.ts'

/** The A and B tensors of every group: what is bound together. */
type DeltaTensors = readonly { readonly name: string; readonly value: Value }[]

/** One group's stack. `rank` is the padded rank; `rows[i]` is the digest that row i holds now. */
interface Stack {
  rank: number
  a: FloatArray
  b: FloatArray[]
  rows: (string | null)[]
}

const EMPTY = new Float32Array(0)

/**
 * Dimensions of one that A and B have in front where several rows share them. Without these the CPU's MatMul makes one
 * product of all rows, whose sums round otherwise than those of a row alone; with these it makes one for each row.
 */
const SHARED_ONES = { A: [1, 1], B: [1, 1, 1] } as const

export class DeltaInputs {
  readonly #runtime: OnnxRuntime
  readonly #groups: readonly ProjectionGroup[]
  readonly #maxRows: number
  readonly #rowByRow: boolean
  readonly #floatType: FloatType
  /** By digest, for one row and for several. */
  readonly #shared = { one: new Map<string | null, DeltaTensors>(), several: new Map<string | null, DeltaTensors>() }
  readonly #stacks: Stack[]
  /** For rows that have no change at all. */
  readonly #zeros: Float32Array
  /** Tensors over the stacks, for the row count and ranks that they were last used with. */
  #stacked: { key: string; digests: readonly (string | null)[]; tensors: DeltaTensors } | undefined

  /** `rowByRow`: whether rows that share a delta must be told to be multiplied one by one. */
  constructor(
    runtime: OnnxRuntime,
    groups: readonly ProjectionGroup[],
    maxRows: number,
    rowByRow: boolean,
    floatType: FloatType,
  ) {
    this.#rowByRow = rowByRow
    this.#floatType = floatType
    this.#runtime = runtime
    this.#groups = groups
    this.#maxRows = maxRows
    this.#stacks = groups.map(() => ({ rank: 0, a: EMPTY, b: [], rows: [] }))
    this.#zeros = noChange(groups)
  }

  /**
   * Binds the inputs for rows that run with `deltas`, in order; null: the bare base model. `bound` is what this binding
   * was given last time: nothing is done where it is the same still.
   */
  bind(binding: Binding, deltas: readonly (PackedDelta | null)[], bound: DeltaTensors | undefined): DeltaTensors {
    const first = deltas[0] ?? null
    const tensors = deltas.every((delta) => delta?.digest === first?.digest)
      ? this.#sharedBy(first, deltas.length)
      : this.#stack(deltas)
    if (tensors !== bound) for (const { name, value } of tensors) binding.input(name, value)
    return tensors
  }

  /** Frees the tensors over a delta that is leaving memory. No binding may run with it afterwards. */
  forget(digest: string): void {
    for (const tensors of Object.values(this.#shared)) {
      for (const { value } of tensors.get(digest) ?? []) value.release()
      tensors.delete(digest)
    }
  }

  release(): void {
    const shared = Object.values(this.#shared).flatMap((tensors) => [...tensors.values()])
    for (const tensors of [...shared, this.#stacked?.tensors ?? []]) {
      for (const { value } of tensors) value.release()
    }
    for (const tensors of Object.values(this.#shared)) tensors.clear()
    this.#stacked = undefined
  }

  #sharedBy(delta: PackedDelta | null, rows: number): DeltaTensors {
    const rowByRow = rows > 1 && this.#rowByRow
    const kept = rowByRow ? this.#shared.several : this.#shared.one
    const key = delta?.digest ?? null
    let tensors = kept.get(key)
    if (!tensors) {
      tensors = deltaTensors(this.#groups, delta, this.#zeros).map((tensor) =>
        this.#over(tensor, rowByRow ? SHARED_ONES[tensor.name.endsWith('.A') ? 'A' : 'B'] : []),
      )
      kept.set(key, tensors)
    }
    return tensors
  }

  #stack(deltas: readonly (PackedDelta | null)[]): DeltaTensors {
    // Most steps run the rows of the step before: then nothing is looked at, group by group.
    const digests = deltas.map((delta) => delta?.digest ?? null)
    if (this.#stacked && sameRows(this.#stacked.digests, digests)) return this.#stacked.tensors
    let changed = false
    const ranks = this.#groups.map((_, i) => Math.max(...deltas.map((delta) => delta?.groups[i]?.rank ?? 0)))
    for (const [i, group] of this.#groups.entries()) {
      // What no row changes needs no stack.
      if (ranks[i] === 0) continue
      const stack = this.#stacks[i]!
      this.#fitRank(stack, group, ranks[i]!)
      for (const [row, delta] of deltas.entries()) {
        const digest = delta?.digest ?? null
        if (stack.rows[row] === digest) continue
        fillRow(stack, group, row, delta?.groups[i])
        stack.rows[row] = digest
        changed = true
      }
    }
    const key = [deltas.length, ...this.#stacks.map((stack, i) => ranks[i]! && stack.rank)].join()
    if (this.#stacked?.key !== key) {
      for (const { value } of this.#stacked?.tensors ?? []) value.release()
      const tensors = this.#groups.flatMap((group, i) =>
        (ranks[i] === 0
          ? noChangeTensors(group, this.#zeros)
          : stackTensors(group, this.#stacks[i]!, deltas.length)
        ).map((tensor) => this.#over(tensor, [])),
      )
      this.#stacked = { key, digests, tensors }
    } else if (changed) {
      // Another list of the same tensors: a device copied them when they were bound and must be given them again.
      this.#stacked = { key, digests, tensors: [...this.#stacked.tensors] }
    }
    return this.#stacked.tensors
  }

  /** Changes the padded rank when the rows need more, or no more than half of it; every row is then filled again. */
  #fitRank(stack: Stack, group: ProjectionGroup, rank: number): void {
    if (rank <= stack.rank && rank > stack.rank / 2) return
    stack.rank = rank
    stack.a = floatArray(this.#floatType, this.#maxRows * group.parts.length * rank * group.in)
    stack.b = group.parts.map((part) => floatArray(this.#floatType, this.#maxRows * part.out * rank))
    // Fresh memory is zero, which is what a row of the base model holds.
    stack.rows = Array.from({ length: this.#maxRows }, () => null)
  }

  #over(
    { name, values, dims }: DeltaTensor<Float32Array | Float16Array>,
    ones: readonly number[],
  ): DeltaTensors[number] {
    const all = [...ones, ...dims]
    // A delta's own memory is f32; stacks are of the graph's type already.
    const data = this.#floatType === 'f16' && values instanceof Float32Array ? new Float16Array(values) : values
    return { name, value: this.#runtime.hostTensor(data, this.#floatType, all) }
  }
}

/** The first `rows` rows of a stack. */
function stackTensors(
  { name, in: inSize, parts }: ProjectionGroup,
  { rank, a, b }: Stack,
  rows: number,
): DeltaTensor<FloatArray>[] {
  const tensor = (input: string, values: FloatArray, out: number, columns: number) => ({
    name: `${name}.${input}`,
    values: values.subarray(0, rows * out * columns),
    dims: [rows, out, columns],
  })
  return [tensor('A', a, parts.length * rank, inSize), ...parts.map(({ out }, i) => tensor(`B${i}`, b[i]!, out, rank))]
}

function fillRow(stack: Stack, group: ProjectionGroup, row: number, delta: PackedGroup | undefined): void {
  const { rank } = stack
  const parts = group.parts.length
  const a = stack.a.subarray(row * parts * rank * group.in, (row + 1) * parts * rank * group.in)
  if (!delta || delta.rank < rank) a.fill(0)
  for (const [part, { out }] of group.parts.entries()) {
    const b = stack.b[part]!.subarray(row * out * rank, (row + 1) * out * rank)
    if (!delta || delta.rank < rank) b.fill(0)
    if (!delta || delta.rank === 0) continue
    const partValues = delta.rank * group.in
    a.set(delta.a.subarray(part * partValues, (part + 1) * partValues), part * rank * group.in)
    copyColumns(delta.b[part]!, delta.rank, b, rank)
  }
}

function sameRows(x: readonly (string | null)[], y: readonly (string | null)[]): boolean {
  return x.length === y.length && x.every((digest, row) => digest === y[row])
}
