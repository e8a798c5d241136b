import { expect, test } from 'vitest'
import { BLOCK_TOKENS, softmax } from '../../../gpu-backend/sampling/likelihoods.ts'
import fc from '../../support/properties.ts'
import { randomLogits } from '../../support/random-logits.ts'

test('probabilities are those of the logits, and each block has its sum and its largest', () => {
  const size = fc.constantFrom(1, 63, 64, 65, 1000)
  const temperature = fc.constantFrom(1e-5, 0.5, 1, 2)
  fc.assert(
    fc.property(fc.nat(), size, fc.constantFrom(0, 1, 8, 60), temperature, (seed, size, spread, temperature) => {
      const logits = randomLogits(seed, size, spread)
      fc.pre(logits.some(Number.isFinite))
      const { probabilities, sums, maxima } = softmax(logits, temperature)
      const best = logits.reduce((x, y) => Math.max(x, y))
      const mass = logits.reduce((sum, logit) => sum + Math.exp((logit - best) / temperature), 0)
      for (const [token, probability] of probabilities.entries()) {
        const exact = token < size ? Math.exp((logits[token]! - best) / temperature) / mass : 0
        expect(probability).toBeCloseTo(exact, 6)
      }
      for (const [block, sum] of sums.entries()) {
        const tokens = probabilities.subarray(block * BLOCK_TOKENS, (block + 1) * BLOCK_TOKENS)
        expect(sum).toBeCloseTo(
          tokens.reduce((x, y) => x + y),
          5,
        )
        expect(maxima[block]).toBe(Math.max(...tokens))
      }
    }),
  )
})
