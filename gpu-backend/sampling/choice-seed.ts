// The seed that each choice of an answer draws with.

/** Of choice `index`, where the request has `seed`. Beyond 2^53 sums are rounded: two choices would be one. */
export function choiceSeed(seed: number, index: number): number {
  return (Math.abs(seed) % 2 ** 52) + index
}
