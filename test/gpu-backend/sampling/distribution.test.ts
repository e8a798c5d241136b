import { describe, expect, test } from 'vitest'
import { type Cuts, Distribution } from '../../../gpu-backend/sampling/distribution.ts'
import fc from '../../support/properties.ts'
import { seededRandom } from '../../support/seeded-random.ts'

const ALL: Cuts = { top_k: 0, top_p: 1, min_p: 0 }
/** Of a weight: e^-x from tables, and what is left out as negligible. */
const ROUNDING = 1e-5

/** As many logits as a vocabulary has tokens: most are far from the best, some are alike, some forbidden. */
function vocabulary(seed: number, size: number, spread: number): Float32Array {
  const random = seededRandom(seed)
  return Float32Array.from({ length: size }, () => {
    const kind = random()
    if (kind < 0.02) return Number.NEGATIVE_INFINITY
    const bell = random() + random() + random() + random() - 2
    return kind < 0.2 ? Math.round(bell * spread) : bell * spread
  })
}

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
  let before = 0
  return order.slice(0, count).map((token, i) => {
    const from = before / total
    before += weights[i]!
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
        const logits = vocabulary(seed, size, spread)
        const best = logits.reduce((x, y) => Math.max(x, y))
        fc.pre(best !== Number.NEGATIVE_INFINITY)
        const token = new Distribution(logits, best, temperature).at(share, cuts)
        const reference = sorted(logits, temperature, cuts)
        // A cut may fall one token later or earlier where it falls between two by no more than the rounding.
        const place = reference.find((one) => one.token === token)
        if (!place) {
          expect(reference.at(-1)!.to - share).toBeLessThan(ROUNDING)
          return
        }
        expect(place.from).toBeLessThan(share + ROUNDING)
        expect(place.to).toBeGreaterThan(share - ROUNDING)
      }),
      { numRuns: 3000 },
    )
  })

  test('is the best one where all weight is its own, at the smallest temperature as well', () => {
    const logits = Float32Array.of(1, 5, 2)
    for (const temperature of [Number.MIN_VALUE, 1e-30, 1e-3]) {
      for (const share of [0, 0.5, 1 - 2 ** -53])
        expect(new Distribution(logits, 5, temperature).at(share, ALL)).toBe(1)
    }
  })

  test('is none where the logits are no numbers', () => {
    for (const number of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const logits = new Float32Array(3).fill(number)
      expect(new Distribution(logits, number, 1).at(0.5, ALL)).toBeUndefined()
    }
  })
})

test('the mass is that of all tokens', () => {
  fc.assert(
    fc.property(fc.nat(), fc.constantFrom(0, 1, 8, 60), fc.constantFrom(0.5, 1, 2), (seed, spread, temperature) => {
      const logits = vocabulary(seed, 5000, spread)
      const best = logits.reduce((x, y) => Math.max(x, y))
      const exact = logits.reduce((sum, logit) => sum + Math.exp((logit - best) / temperature), 0)
      expect(new Distribution(logits, best, temperature).mass / exact).toBeCloseTo(1, 6)
    }),
  )
})
