// The graph's inputs for a delta: what each of them holds, its name and its dimensions.
import { outputBlocks, type ProjectionGroup } from './projection-groups.ts'

/** What of a part's change an input holds; scales are of an A in bytes. */
export type DeltaFactor = 'A' | 'A_scales' | 'B'

const FACTOR_NAME = /\.(A|A_scales|B)\d+$/

/** The name of the graph's input for `factor` of part `i`. */
export function factorName({ name }: Pick<ProjectionGroup, 'name'>, factor: DeltaFactor, i: number): string {
  return `${name}.${factor}${i}`
}

/** Whether a graph's input of this name is a delta's. */
export function isFactor(name: string): boolean {
  return FACTOR_NAME.test(name)
}

/** The dimensions of `factor` of part `i` for one row whose rank is `rank`. */
export function factorDims(
  { in: inSize, parts, smoothing }: ProjectionGroup,
  factor: DeltaFactor,
  i: number,
  rank: number,
): number[] {
  const part = parts[i]!
  const several = part.projections.length > 1
  if (factor === 'B') {
    const { size, of } = outputBlocks(part)
    return several ? [of.length, size, rank] : [part.out, rank]
  }
  const each = several ? [part.projections.length] : []
  if (factor === 'A_scales') return [...each, 1, rank]
  return smoothing ? [...each, inSize, rank] : [...each, rank, inSize]
}
