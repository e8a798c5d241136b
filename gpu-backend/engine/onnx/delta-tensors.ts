// A delta's A and B as the graph's inputs, and what stands in their place where nothing is changed.
// Knows no runtime: the backend and the browser ask it alike. Invariant: values are views of the delta's memory, not copies.
import { type DeltaFactor, factorDims, factorName } from '../../model/delta-factors.ts'
import type { ProjectionGroup } from '../../model/projection-groups.ts'
import type { PackedGroup } from '../../residency/packed-delta.ts'

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
  const sizes = groups.flatMap((group) => [group.projections.length * group.in, group.out])
  return { rank, zeros: new Float32Array(Math.max(...sizes)) }
}

/** A and B where all rows share the change, or those of `none` where it changes nothing in `group`. */
export function deltaTensors(group: ProjectionGroup, change: PackedGroup | undefined, none: NoChange): DeltaTensor[] {
  if (!change || change.rank === 0) return noChangeTensors(group, none)
  const { a, b, rank } = change
  return [...tensorsOfA(group, a, rank), tensor(group, 'B', b, factorDims(group, 'B', rank))]
}

/** A and B of a group that nothing changes. */
export function noChangeTensors(group: ProjectionGroup, { rank, zeros }: NoChange): DeltaTensor[] {
  // Whatever the bytes are, their scale is zero.
  const a = group.smoothing ? { values: new Uint8Array(zeros.buffer), scales: zeros } : zeros
  // Of several products over nothing ONNX Runtime sets the first alone to zero (1.30).
  if (group.projections.length > 1) {
    return [...tensorsOfA(group, a, 1), tensor(group, 'B', zeros, factorDims(group, 'B', 1))]
  }
  // One zero is broadcast over all of the output.
  return [...tensorsOfA(group, a, rank), tensor(group, 'B', zeros, [1, rank])]
}

function tensorsOfA(group: ProjectionGroup, a: PackedGroup['a'], rank: number): DeltaTensor[] {
  const dims = (factor: DeltaFactor) => factorDims(group, factor, rank)
  if (a instanceof Float32Array) return [tensor(group, 'A', a, dims('A'))]
  return [tensor(group, 'A', a.values, dims('A')), tensor(group, 'A_scales', a.scales, dims('A_scales'))]
}

/** Of `values` those that `dims` ask for. */
function tensor(
  group: ProjectionGroup,
  factor: DeltaFactor,
  values: Float32Array | Uint8Array,
  dims: readonly number[],
): DeltaTensor {
  const length = dims.reduce((product, dim) => product * dim, 1)
  return { name: factorName(group, factor), factor, values: values.subarray(0, length), dims }
}
