// A delta's A and B as the graph's inputs, and what stands in their place where nothing is changed.
// Knows no runtime: the backend and the browser ask it alike. Invariant: values are views of the delta's memory, not copies.
import { type DeltaFactor, factorDims, factorName } from '../../model/delta-factors.ts'
import type { ProjectionGroup } from '../../model/projection-groups.ts'
import type { PackedPart } from '../../residency/packed-delta.ts'

/** An input of the graph. */
export interface DeltaTensor<Values = Float32Array | Uint8Array> {
  readonly name: string
  readonly factor: DeltaFactor
  readonly values: Values
  readonly dims: readonly number[]
}

/** A change that is none: of rank 0 where a product over nothing is known to be zero and costs nothing, else of rank 1. */
export interface NoChange {
  readonly rank: 0 | 1
  /** Enough for any A or B of rank 1. */
  readonly zeros: Float32Array<ArrayBuffer>
}

/** The change that is none for any of `groups`, which share its zeros. */
export function noChange(groups: readonly ProjectionGroup[], rank: NoChange['rank']): NoChange {
  const sizes = groups.flatMap((group) => group.parts.flatMap((part) => [part.projections.length * group.in, part.out]))
  return { rank, zeros: new Float32Array(Math.max(...sizes)) }
}

/** A and B of a group's parts where all rows share the change, or those of `none` where it changes nothing. */
export function deltaTensors(
  group: ProjectionGroup,
  change: readonly PackedPart[] | undefined,
  none: NoChange,
): DeltaTensor[] {
  return group.parts.flatMap((_, i) => {
    const part = change?.[i]
    if (!part || part.rank === 0) return noChangeTensors(group, i, none)
    const { a, b, rank } = part
    return [...tensorsOfA(group, i, a, rank), tensor(group, 'B', i, b, factorDims(group, 'B', i, rank))]
  })
}

/** A and B of one part that nothing changes. */
export function noChangeTensors(group: ProjectionGroup, i: number, { rank, zeros }: NoChange): DeltaTensor[] {
  // Whatever the bytes are, their scale is zero.
  const a = group.smoothing ? { values: new Uint8Array(zeros.buffer), scales: zeros } : zeros
  const several = group.parts[i]!.projections.length > 1
  // Of several products over nothing ONNX Runtime sets the first alone to zero (1.30).
  if (several) return [...tensorsOfA(group, i, a, 1), tensor(group, 'B', i, zeros, factorDims(group, 'B', i, 1))]
  // One zero is broadcast over all of the output.
  return [...tensorsOfA(group, i, a, rank), tensor(group, 'B', i, zeros, [1, rank])]
}

function tensorsOfA(group: ProjectionGroup, i: number, a: PackedPart['a'], rank: number): DeltaTensor[] {
  const dims = (factor: DeltaFactor) => factorDims(group, factor, i, rank)
  if (a instanceof Float32Array) return [tensor(group, 'A', i, a, dims('A'))]
  return [tensor(group, 'A', i, a.values, dims('A')), tensor(group, 'A_scales', i, a.scales, dims('A_scales'))]
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
  return { name: factorName(group, factor, i), factor, values: values.subarray(0, length), dims }
}
