// Turns "this row runs with that delta" into the graph's A and B inputs.
// Rows that all share one delta (a batch of one, a prefill) read the delta's own memory, one read for all of them.
// Rows with different deltas read stacks, one copy a row.
import { type DeltaScope, groupScope, hasScope } from '../../model/delta-scope.ts'
import type { ProjectionGroup } from '../../model/projection-groups.ts'
import type { FloatType } from '../../model/weight-formats.ts'
import type { PackedDelta } from '../../residency/packed-delta.ts'
import type { Bound } from './decode-step.ts'
import { DeltaStack } from './delta-stack.ts'
import { type DeltaTensor, deltaTensors, type NoChange, noChange, noChangeTensors } from './delta-tensors.ts'
import type { Device, OnnxRuntime } from './ort.ts'
import type { HostArray, Value } from './ort-binding.ts'
import { sameRows } from './rows-apart.ts'

/** The A and B tensors of every projection: what is bound together, each to graphs that take deltas of its scope. */
export type DeltaTensors = readonly { readonly name: string; readonly scope: DeltaScope; readonly value: Value }[]

/**
 * Dimensions of size 1 to put in front of a float A or B that several rows share, so that it has one dimension more than what
 * it is multiplied with: the CPU's MatMul then makes a product for each row. Without them it makes one of all rows, whose sums
 * round otherwise than those of a row alone. Sums over bytes are exact in any order, and need none.
 */
function sharedOnes({ smoothing }: ProjectionGroup, { factor, dims }: DeltaTensor): readonly number[] {
  // B of several projections has dimensions enough. Products over nothing must be one, as `noChangeTensors` says.
  if (dims.length > 2 || dims.includes(0)) return []
  if (factor === 'B') return smoothing ? [1, 1] : [1, 1, 1]
  return smoothing ? [] : [1, 1]
}

interface Stacked {
  /** The rows of each part. */
  readonly sizes: string
  readonly ranks: string
  readonly digests: readonly (string | null)[]
  readonly parts: readonly DeltaTensors[]
}

export class DeltaInputs {
  readonly #runtime: OnnxRuntime
  readonly #groups: readonly ProjectionGroup[]
  readonly #rowByRow: boolean
  readonly #floatType: FloatType
  /** By digest, for one row and for several. */
  readonly #shared = { one: new Map<string | null, DeltaTensors>(), several: new Map<string | null, DeltaTensors>() }
  /** By group. */
  readonly #stacks: readonly DeltaStack[]
  /** For what no row changes. */
  readonly #none: NoChange
  /** Tensors over the stacks for each part of the batch, for the rows and ranks that they were last used with. */
  #stacked: Stacked | undefined

  constructor(
    runtime: OnnxRuntime,
    groups: readonly ProjectionGroup[],
    maxRows: number,
    device: Device,
    floatType: FloatType,
  ) {
    // WebGPU's product is of one row at a time by itself.
    this.#rowByRow = device !== 'webgpu'
    this.#floatType = floatType
    this.#runtime = runtime
    this.#groups = groups
    this.#stacks = groups.map((group, index) => new DeltaStack(group, index, maxRows, floatType))
    this.#none = noChange(groups, device === 'cpu' ? 0 : 1)
  }

  /**
   * Binds the inputs for rows that run with `deltas`, in order, to the parts that have these rows, one after another; null: the
   * bare base model. The graphs' scopes must have them. Nothing is done where they are bound still.
   */
  bind(parts: readonly Bound[], deltas: readonly (PackedDelta | null)[]): void {
    const first = deltas[0] ?? null
    const tensors = deltas.every((delta) => delta?.digest === first?.digest)
      ? parts.map(({ rows }) => this.#sharedBy(first, rows))
      : this.#stack(parts, deltas)
    for (const [i, part] of parts.entries()) bindTensors(part, tensors[i]!)
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
    for (const tensors of shared) for (const { value } of tensors) value.release()
    for (const tensors of Object.values(this.#shared)) tensors.clear()
    this.#releaseStacked()
  }

  #sharedBy(delta: PackedDelta | null, rows: number): DeltaTensors {
    const rowByRow = rows > 1 && this.#rowByRow
    const kept = rowByRow ? this.#shared.several : this.#shared.one
    const key = delta?.digest ?? null
    let tensors = kept.get(key)
    if (!tensors) {
      tensors = this.#groups.flatMap((group, i) =>
        deltaTensors(group, delta?.groups[i], this.#none).map((tensor) =>
          this.#over(group, tensor, rowByRow ? sharedOnes(group, tensor) : []),
        ),
      )
      kept.set(key, tensors)
    }
    return tensors
  }

  #stack(parts: readonly Bound[], deltas: readonly (PackedDelta | null)[]): readonly DeltaTensors[] {
    // Most steps run the rows of the step before: then nothing is looked at, group by group.
    const digests = deltas.map((delta) => delta?.digest ?? null)
    const sizes = parts.map(({ rows }) => rows).join()
    const last = this.#stacked
    if (last?.sizes === sizes && sameRows(last.digests, digests)) return last.parts
    const stacked = this.#fill(deltas)
    const ranks = stacked.map(({ rank }) => rank).join()
    if (last?.sizes !== sizes || last.ranks !== ranks) {
      this.#releaseStacked()
      let first = 0
      const made = parts.map(({ rows }) => {
        const start = first
        first += rows
        return stacked.flatMap(({ rank }, index) => this.#stackedGroup(index, rank, start, rows))
      })
      this.#stacked = { sizes, ranks, digests, parts: made }
    } else if (stacked.some(({ filled }) => filled)) {
      // Other lists of the same tensors: a device copied them when they were bound and must be given them again.
      this.#stacked = { ...last, digests, parts: last.parts.map((tensors) => [...tensors]) }
    }
    return this.#stacked!.parts
  }

  #fill(deltas: readonly (PackedDelta | null)[]): ReturnType<DeltaStack['fill']>[] {
    try {
      return this.#stacks.map((stack) => stack.fill(deltas))
    } catch (error) {
      // Some stacks have moved by then: no tensor is over what they were.
      this.#releaseStacked()
      throw error
    }
  }

  #releaseStacked(): void {
    for (const tensors of this.#stacked?.parts ?? []) for (const { value } of tensors) value.release()
    this.#stacked = undefined
  }

  /** Tensors over `rows` rows from `first` on of the stack of a group, whose rank is `rank`. */
  #stackedGroup(index: number, rank: number, first: number, rows: number): DeltaTensors {
    const group = this.#groups[index]!
    const tensors = rank > 0 ? this.#stacks[index]!.tensors(first, rows) : noChangeTensors(group, this.#none)
    return tensors.map((tensor) => this.#over(group, tensor, []))
  }

  #over(
    group: ProjectionGroup,
    { name, values, dims }: DeltaTensor<HostArray>,
    ones: readonly number[],
  ): DeltaTensors[number] {
    const [scope, all] = [groupScope(group.name), [...ones, ...dims]]
    if (values instanceof Uint8Array) return { name, scope, value: this.#runtime.hostTensor(values, 'u8', all) }
    // A delta's own memory is f32; stacks are of the graph's type already.
    const data = this.#floatType === 'f16' && values instanceof Float32Array ? new Float16Array(values) : values
    return { name, scope, value: this.#runtime.hostTensor(data, this.#floatType, all) }
  }
}

function bindTensors(bound: Bound, tensors: DeltaTensors): void {
  if (tensors === bound.deltas) return
  for (const { name, scope, value } of tensors) if (hasScope(bound.scope, scope)) bound.binding.input(name, value)
  bound.deltas = tensors
}
