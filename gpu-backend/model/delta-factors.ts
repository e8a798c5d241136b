// The graph's inputs for a delta: what each of them holds, its name and its dimensions.
import { outputBlocks, type ProjectionGroup } from './projection-groups.ts'

/** What of a group's change an input holds; scales are of an A in bytes. */
export type DeltaFactor = 'A' | 'A_scales' | 'B'

const FACTOR_NAME = /\.(A|A_scales|B)$/

export function factorName({ name }: ProjectionGroup, factor: DeltaFactor): string {
  return `${name}.${factor}`
}

/** Whether a graph's input of this name is a delta's. */
export function isFactor(name: string): boolean {
  return FACTOR_NAME.test(name)
}

/** The dimensions of `factor` for one row whose rank is `rank`. */
export function factorDims(group: ProjectionGroup, factor: DeltaFactor, rank: number): number[] {
  const { in: inSize, out, projections, smoothing } = group
  const several = projections.length > 1
  if (factor === 'B') {
    const { size, of } = outputBlocks(group)
    return several ? [of.length, size, rank] : [out, rank]
  }
  const each = several ? [projections.length] : []
  if (factor === 'A_scales') return [...each, 1, rank]
  return smoothing ? [...each, inSize, rank] : [...each, rank, inSize]
}
