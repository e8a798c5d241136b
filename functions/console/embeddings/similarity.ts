// How alike texts are by their vectors. Pure.

/** Cosine of the angle between two vectors of length 1, as the API gives them: from -1 to 1. */
export function similarity(x: readonly number[], y: readonly number[]): number {
  return x.reduce((sum, value, i) => sum + value * y[i]!, 0)
}
