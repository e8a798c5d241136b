// The seed that each choice of an answer draws with.

const HALF = 2 ** 51

/** Of choice `index`, where the request has `seed`; positive. Beyond 2^53 sums are rounded: two choices would be one. */
export function choiceSeed(seed: number, index: number): number {
  return (Math.abs(seed) % HALF) + (seed < 0 ? HALF : 0) + index
}
