import { describe, expect, test } from 'vitest'
import { type Cuts, draw } from '../../../gpu-backend/sampling/draw.ts'
import { softmax } from '../../../gpu-backend/sampling/likelihoods.ts'
import fc from '../../support/properties.ts'
import { randomLogits } from '../../support/random-logits.ts'

const ALL: Cuts = { top_k: 0, top_p: 1, min_p: 0 }
/** Of sums of probabilities in 32 bits. */
const ROUNDING = 1e-5

/** What a sort of all tokens says: the likely ones in order, and of each the share of the weight up to it. */
function sorted(logits: Float32Array, temperature: number, { top_k, top_p, min_p }: Cuts) {
  const order = [...logits.keys()].sort((x, y) => logits[y]! - logits[x]! || x - y)
  const best = logits[order[0]!]!
  const weights = order.map((token) => Math.exp((logits[token]! - best) / temperature))
  let count = top_k > 0 ? Math.min(top_k, order.length) : order.length
  const sum = (length: number) => weights.slice(0, length).reduce((total, weight) => total + weight, 0)
  const wanted = top_p * sum(count)
  let mass = 0
  let kept = 0
  while (kept < count && mass < wanted && weights[kept]! >= min_p) mass += weights[kept++]!
  count = Math.max(1, kept)
  const total = sum(count)
  const weightOf = new Map(order.slice(0, count).map((token, place) => [token, weights[place]!]))
  // Where nothing is cut off nothing is sorted.
  const places = top_k === 0 && top_p === 1 && min_p === 0 ? [...logits.keys()] : [...weightOf.keys()]
  let before = 0
  return places.map((token) => {
    const from = before / total
    before += weightOf.get(token) ?? 0
    return { token, from, to: before / total }
  })
}

describe('the token at a share of the weight', () => {
  test('is the one that a sort of the whole vocabulary finds', () => {
    const cuts = fc.record({
      top_k: fc.constantFrom(0, 1, 2, 40, 100_000),
      top_p: fc.constantFrom(1, 0.999, 0.9, 0.3),
      min_p: fc.constantFrom(0, 1e-9, 0.01, 0.4, 1),
    })
    const share = fc.oneof(
      fc.constantFrom(0, 1 - 2 ** -53),
      fc.noBias(fc.nat({ max: 999_999 })).map((millionth) => millionth / 1e6),
    )
    const size = fc.constantFrom(1, 2, 50, 500)
    const spread = fc.constantFrom(0, 1, 8, 60)
    const temperature = fc.constantFrom(0.05, 0.7, 1, 2)
    fc.assert(
      fc.property(fc.nat(), size, spread, temperature, cuts, share, (seed, size, spread, temperature, cuts, share) => {
        const logits = randomLogits(seed, size, spread)
        fc.pre(logits.some(Number.isFinite))
        const token = draw(softmax(logits, temperature), share, cuts)
        // A cut may fall one token later or earlier where it falls between two by no more than the rounding.
        const wider = cuts.top_p === 1 ? [1] : [1, 1 - ROUNDING, 1 + ROUNDING]
        const references = wider.map((factor) => sorted(logits, temperature, { ...cuts, top_p: cuts.top_p * factor }))
        const isThere = references.some((reference) => {
          const place = reference.find((one) => one.token === token)
          if (!place) return reference.at(-1)!.to - share < ROUNDING
          return place.from < share + ROUNDING && place.to > share - ROUNDING
        })
        expect(isThere).toBe(true)
      }),
      { numRuns: 3000 },
    )
  })

  test('is the best one where all weight is its own', () => {
    const likelihoods = softmax(Float32Array.of(1, 5, 2), 1e-5)
    for (const share of [0, 0.5, 1 - 2 ** -53]) expect(draw(likelihoods, share, ALL)).toBe(1)
  })

  test('is none where the logits are no numbers', () => {
    for (const number of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const likelihoods = softmax(new Float32Array(3).fill(number), 1)
      for (const cuts of [ALL, { ...ALL, top_k: 2 }]) expect(draw(likelihoods, 0.5, cuts)).toBeUndefined()
    }
  })
})
