// A delta's A and B as the graph's inputs, and what stands in their place where nothing is changed.
// Knows no runtime: the backend and the browser ask it alike. Invariant: values are views of the delta's memory, not copies.
import type { ProjectionGroup } from '../../model/projection-groups.ts'
import type { PackedPart } from '../../residency/packed-delta.ts'

/** An input of the graph. */
export interface DeltaTensor<Values = Float32Array | Uint8Array> {
  readonly name: string
  readonly factor: DeltaFactor
  readonly values: Values
  readonly dims: readonly number[]
}

/** What of a part's change a tensor holds; scales are of an A in bytes. */
export type DeltaFactor = 'A' | 'A_scales' | 'B'

/** The name of the graph's input for `factor` of part `i`. */
export function tensorName({ name }: ProjectionGroup, factor: DeltaFactor, i: number): string {
  return `${name}.${factor}${i}`
}

/** A change that is none: of rank 0 where a product over nothing is known to be zero and costs nothing, else of rank 1. */
export interface NoChange {
  readonly rank: 0 | 1
  /** Enough for any A or B of rank 1. */
  readonly zeros: Float32Array<ArrayBuffer>
}

/** The change that is none for any of `groups`, which share its zeros. */
export function noChange(groups: readonly ProjectionGroup[], rank: NoChange['rank']): NoChange {
  const sizes = groups.flatMap((group) => [group.in, ...group.parts.map((part) => part.out)])
  return { rank, zeros: new Float32Array(Math.max(...sizes)) }
}

/** A and B of a group's parts where all rows share the change, or those of `none` where it changes nothing. */
export function deltaTensors(
  group: ProjectionGroup,
  change: readonly PackedPart[] | undefined,
  none: NoChange,
): DeltaTensor[] {
  const changed = change?.some(({ rank }) => rank > 0) ?? false
  return group.parts.flatMap(({ out }, i) => {
    const part = change?.[i]
    if (!part || part.rank === 0) return noChangeTensors(group, i, none, changed)
    return [...tensorsOfA(group, i, part.a, part.rank), tensor(group, 'B', i, part.b, [out, part.rank])]
  })
}

/** A and B of one part that nothing changes; `changed`: whether another part of its group is. */
export function noChangeTensors(group: ProjectionGroup, i: number, none: NoChange, changed: boolean): DeltaTensor[] {
  const { parts, joined, smoothing } = group
  const { zeros } = none
  // Whatever the bytes are, their scale is zero.
  const a = smoothing ? { values: new Uint8Array(zeros.buffer), scales: zeros } : zeros
  // Beside a part with values there must be as many as it has outputs.
  const rank = joined && changed ? 1 : none.rank
  // One zero is broadcast over all of the output; of parts that are joined the first brings it, the others nothing.
  const few = joined && i > 0 ? 0 : 1
  const out = joined && rank > 0 ? parts[i]!.out : few
  return [...tensorsOfA(group, i, a, rank), tensor(group, 'B', i, zeros, [out, rank])]
}

function tensorsOfA(group: ProjectionGroup, i: number, a: PackedPart['a'], rank: number): DeltaTensor[] {
  if (a instanceof Float32Array) return [tensor(group, 'A', i, a, [rank, group.in])]
  return [tensor(group, 'A', i, a.values, [group.in, rank]), tensor(group, 'A_scales', i, a.scales, [rank])]
}

/** Of `values` those that `dims` ask for. */
function tensor(
  group: ProjectionGroup,
  factor: DeltaFactor,
  i: number,
  values: Float32Array | Uint8Array,
  dims: readonly number[],
): DeltaTensor {
  const length = dims.reduce((product, dim) => product * dim, 1)
  return { name: tensorName(group, factor, i), factor, values: values.subarray(0, length), dims }
}
