import { expect, test } from 'vitest'
import { choiceSeed } from '../../../gpu-backend/sampling/choice-seed.ts'

test('each choice has a seed of its own, and so have the two signs, whichever of 64 bits is given', () => {
  for (const seed of [1, 5, 2 ** 31, 2 ** 51 - 1, Number.MAX_SAFE_INTEGER, 2 ** 63]) {
    const seeds = [seed, -seed].flatMap((given) => [0, 1, 15].map((index) => choiceSeed(given, index)))
    expect(new Set(seeds).size).toBe(seeds.length)
    for (const made of seeds) expect(Number.isSafeInteger(made) && made >= 0).toBe(true)
  }
})
