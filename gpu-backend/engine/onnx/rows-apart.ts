// Which rows of a batch are computed by themselves: those whose deltas would make the stacks larger than they may be, since
// every row of a stack takes as much as the largest. Knows no tensors.
// Invariant: a batch whose rows have one delta has none apart, and what stays fits, its base model's rows included.
import type { ProjectionGroup } from '../../model/projection-groups.ts'
import type { FloatType } from '../../model/weight-formats.ts'
import type { PackedDelta } from '../../residency/packed-delta.ts'
import { floatBytes } from './float-array.ts'

type Delta = PackedDelta | null

export class RowsApart {
  readonly #maxBytes: number
  /** Of a row and a rank, by group. */
  readonly #bytes: readonly number[]
  #last: { readonly digests: readonly (string | null)[]; readonly apart: ReadonlySet<number> } | undefined

  /** `maxBytes`: of the stacks of all groups. */
  constructor(groups: readonly ProjectionGroup[], floatType: FloatType, maxBytes: number) {
    this.#maxBytes = maxBytes
    this.#bytes = groups.map((group) => stackBytesPerRank(group, floatType))
  }

  /** The indices of those among `deltas`, each a row's. */
  of(deltas: readonly Delta[]): ReadonlySet<number> {
    const digests = deltas.map((delta) => delta?.digest ?? null)
    // Most steps run the rows of the step before.
    if (this.#last && sameRows(this.#last.digests, digests)) return this.#last.apart
    const isOne = digests.every((digest) => digest === digests[0])
    this.#last = { digests, apart: isOne ? new Set() : this.#find(deltas) }
    return this.#last.apart
  }

  /** The largest ones, one after another, until the others fit. */
  #find(deltas: readonly Delta[]): ReadonlySet<number> {
    const sizes = deltas.map((delta) => this.#sum((group) => delta?.groups[group]?.rank ?? 0))
    const largestFirst = [...deltas.keys()].sort((x, y) => sizes[y]! - sizes[x]!)
    const apart = new Set<number>()
    const fits = () => {
      const left = deltas.filter((_, row) => !apart.has(row))
      const rank = (group: number) => Math.max(0, ...left.map((delta) => delta?.groups[group]?.rank ?? 0))
      return deltas.length * this.#sum(rank) <= this.#maxBytes
    }
    while (!fits()) apart.add(largestFirst[apart.size]!)
    return apart
  }

  #sum(rank: (group: number) => number): number {
    return this.#bytes.reduce((sum, bytes, group) => sum + bytes * rank(group), 0)
  }
}

/** Whether two lists of digests, each a row's, are the same. */
export function sameRows(x: readonly (string | null)[], y: readonly (string | null)[]): boolean {
  return x.length === y.length && x.every((digest, row) => digest === y[row])
}

/** Bytes of a group's A, its scales and B in a stack, for each row and rank. */
export function stackBytesPerRank(
  { in: inSize, out, projections, smoothing }: Pick<ProjectionGroup, 'in' | 'out' | 'projections' | 'smoothing'>,
  floatType: FloatType,
): number {
  const float = floatBytes(floatType)
  const ofA = smoothing ? inSize + Float32Array.BYTES_PER_ELEMENT : inSize * float
  return projections.length * ofA + out * float
}
