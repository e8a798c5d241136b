// Turns "this row runs with that delta" into the graph's A and B inputs.
// Rows that all share one delta (a batch of one, a prefill) read the delta's own memory, one read for all of them.
// Rows with different deltas read stacks, one copy a row, padded to the largest rank among these rows and no further.
// Invariant: a row without a change has A = B = 0, so its result is the base model's.
import type { ProjectionGroup } from '../../model/graph.ts'
import {
  copyColumns,
  deltaTensors,
  MIN_RANK,
  noChange,
  type PackedDelta,
  type PackedGroup,
} from '../../residency/packed-delta.ts'
import type { Binding, OnnxRuntime, Value } from './ort.ts'

/** The A and B tensors of every group: what is bound together. */
type DeltaTensors = readonly { readonly name: string; readonly value: Value }[]

/** One group's stack. `rank` is the padded rank; `rows[i]` is the digest that row i holds now. */
interface Stack {
  rank: number
  a: Float32Array<ArrayBuffer>
  b: Float32Array<ArrayBuffer>[]
  rows: (string | null)[]
}

const EMPTY = new Float32Array(0)

export class DeltaInputs {
  readonly #runtime: OnnxRuntime
  readonly #groups: readonly ProjectionGroup[]
  readonly #maxRows: number
  readonly #shared = new Map<string | null, DeltaTensors>()
  readonly #stacks: Stack[]
  /** For rows that have no change at all. */
  readonly #zeros: Float32Array
  /** Tensors over the stacks, for the row count and ranks that they were last used with. */
  #stacked: { key: string; digests: readonly (string | null)[]; tensors: DeltaTensors } | undefined

  constructor(runtime: OnnxRuntime, groups: readonly ProjectionGroup[], maxRows: number) {
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
      ? this.#sharedBy(first)
      : this.#stack(deltas)
    if (tensors !== bound) for (const { name, value } of tensors) binding.input(name, value)
    return tensors
  }

  /** Frees the tensors over a delta that is leaving memory. No binding may run with it afterwards. */
  forget(digest: string): void {
    for (const { value } of this.#shared.get(digest) ?? []) value.release()
    this.#shared.delete(digest)
  }

  release(): void {
    for (const tensors of [...this.#shared.values(), this.#stacked?.tensors ?? []]) {
      for (const { value } of tensors) value.release()
    }
    this.#shared.clear()
    this.#stacked = undefined
  }

  #sharedBy(delta: PackedDelta | null): DeltaTensors {
    const key = delta?.digest ?? null
    let tensors = this.#shared.get(key)
    if (!tensors) {
      tensors = deltaTensors(this.#groups, delta, this.#zeros).map(({ name, values, dims }) => ({
        name,
        value: this.#runtime.hostTensor(values, 'f32', dims),
      }))
      this.#shared.set(key, tensors)
    }
    return tensors
  }

  #stack(deltas: readonly (PackedDelta | null)[]): DeltaTensors {
    // Most steps run the rows of the step before: then nothing is looked at, group by group.
    const digests = deltas.map((delta) => delta?.digest ?? null)
    if (this.#stacked && sameRows(this.#stacked.digests, digests)) return this.#stacked.tensors
    let changed = false
    for (const [i, group] of this.#groups.entries()) {
      const stack = this.#stacks[i]!
      this.#fitRank(stack, group, Math.max(MIN_RANK, ...deltas.map((delta) => delta?.groups[i]?.rank ?? 0)))
      for (const [row, delta] of deltas.entries()) {
        const digest = delta?.digest ?? null
        if (stack.rows[row] === digest) continue
        fillRow(stack, group, row, delta?.groups[i])
        stack.rows[row] = digest
        changed = true
      }
    }
    const key = [deltas.length, ...this.#stacks.map((stack) => stack.rank)].join()
    if (this.#stacked?.key !== key) {
      for (const { value } of this.#stacked?.tensors ?? []) value.release()
      const rows = deltas.length
      const tensors = this.#groups.flatMap((group, i) => {
        const { a, b, rank } = this.#stacks[i]!
        return this.#tensors(group, a, b, rank, rows)
      })
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
    stack.a = new Float32Array(this.#maxRows * group.parts.length * rank * group.in)
    stack.b = group.parts.map((part) => new Float32Array(this.#maxRows * part.out * rank))
    // Fresh memory is zero, which is what a row of the base model holds.
    stack.rows = Array.from({ length: this.#maxRows }, () => null)
  }

  #tensors(group: ProjectionGroup, a: Float32Array, b: readonly Float32Array[], rank: number, rows: number) {
    const tensor = (name: string, values: Float32Array, dims: readonly number[]) => {
      const size = dims.reduce((product, dim) => product * dim, 1)
      return { name, value: this.#runtime.hostTensor(values.subarray(0, size), 'f32', dims) }
    }
    return [
      tensor(`${group.name}.A`, a, [rows, group.parts.length * rank, group.in]),
      ...group.parts.map((part, i) => tensor(`${group.name}.B${i}`, b[i]!, [rows, part.out, rank])),
    ]
  }
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
