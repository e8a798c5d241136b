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
  const columns = projections.length * rank
  if (factor === 'A_scales') return [1, columns]
  if (factor === 'A') return smoothing ? [inSize, columns] : [columns, inSize]
  if (projections.length === 1) return [out, rank]
  const { size, of } = outputBlocks(group)
  return [of.length, size, rank]
}
