import { describe, expect, test } from 'vitest'
import { SamplingParams } from '../../../gpu-backend/protocol.ts'
import { type SampleContext, type Sampled, sample } from '../../../gpu-backend/sampling/sampler.ts'
import fc from '../../support/properties.ts'

type Options = Partial<SamplingParams> & Partial<Omit<SampleContext, 'sampling'>>

/** Samples from a copy of `logits`; temperature 1 unless said otherwise. */
function choose(logits: ArrayLike<number>, options: Options = {}): Sampled {
  const { seed = 1, promptTokens = [], outputTokens = [], endTokenIds = [], peak, ...sampling } = options
  const context = { sampling: SamplingParams.parse(sampling), seed, promptTokens, outputTokens, endTokenIds, peak }
  return sample(Float32Array.from(logits), context)
}

/** The tokens that many seeds choose between. */
function support(logits: ArrayLike<number>, options: Options = {}, seeds = 400): number[] {
  const tokens = Array.from({ length: seeds }, (_, seed) => choose(logits, { ...options, seed }).token)
  return [...new Set(tokens)].sort((x, y) => x - y)
}

const row = fc.array(fc.integer({ min: -40, max: 40 }), { minLength: 2, maxLength: 24 }).map((a) => a.map((x) => x / 8))

function softmax(logits: readonly number[], temperature = 1): number[] {
  const best = Math.max(...logits)
  const weights = logits.map((logit) => Math.exp((logit - best) / temperature))
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  return weights.map((weight) => weight / total)
}

/** Indices from most to least likely. */
function ranking(logits: readonly number[]): number[] {
  return logits.map((_, id) => id).sort((x, y) => logits[y]! - logits[x]! || x - y)
}

describe('greedy sampling', () => {
  test('takes the largest logit, the first where several are', () => {
    fc.assert(
      fc.property(row, fc.integer(), (logits, seed) => {
        expect(choose(logits, { temperature: 0, seed: Math.abs(seed) }).token).toBe(ranking(logits)[0])
      }),
    )
  })

  test('takes the same token where the largest logit is told, whatever is forbidden, raised or lowered', () => {
    const penalty = fc.constantFrom(-2, 0, 0.5)
    const options = fc.record({
      outputTokens: fc.array(fc.nat(1), { maxLength: 3 }),
      endTokenIds: fc.array(fc.nat(1), { maxLength: 1 }),
      min_tokens: fc.nat(4),
      presence_penalty: penalty,
      frequency_penalty: penalty,
      repetition_penalty: fc.constantFrom(0.5, 1, 2),
      logit_bias: fc.constantFrom(undefined, { 1: 5 }, { 0: -5 }),
    })
    fc.assert(
      fc.property(row, options, (logits, { logit_bias, ...rest }) => {
        const asked = { ...rest, ...(logit_bias ? { logit_bias } : {}), temperature: 0 }
        const told = choose(logits, { ...asked, peak: Math.max(...logits) })
        expect(told.token).toBe(choose(logits, asked).token)
      }),
    )
  })

  test('is not changed by top_p, top_k or min_p', () => {
    const logits = [0, 3, 2.9]
    expect(choose(logits, { temperature: 0, top_p: 0.1, top_k: 1, min_p: 0.9 }).token).toBe(1)
  })
})

describe('random sampling', () => {
  test('draws the same token for the same seed and position, and others for other seeds', () => {
    const logits = new Array(64).fill(0)
    fc.assert(
      fc.property(fc.nat(), fc.array(fc.nat(63), { maxLength: 5 }), (seed, outputTokens) => {
        expect(choose(logits, { seed, outputTokens }).token).toBe(choose(logits, { seed, outputTokens }).token)
      }),
    )
    expect(support(logits).length).toBeGreaterThan(50)
    const positions = Array.from(
      { length: 200 },
      (_, n) => choose(logits, { outputTokens: new Array(n).fill(0) }).token,
    )
    expect(new Set(positions).size).toBeGreaterThan(50)
  })

  test('takes any seed that the protocol lets through', () => {
    for (const seed of [0, Number.MAX_SAFE_INTEGER]) expect(choose([0, 0], { seed }).token).toBeLessThan(2)
  })

  test('follows the distribution at its temperature', () => {
    const logits = [0, 1, 2, -1]
    for (const temperature of [0.5, 1, 2]) {
      const counts = [0, 0, 0, 0]
      const draws = 20_000
      for (let seed = 0; seed < draws; seed++) counts[choose(logits, { temperature, seed }).token]!++
      const chances = softmax(logits, temperature)
      // Five standard deviations of a binomial: the seeds are fixed, so this holds always or never.
      for (const [id, chance] of chances.entries()) {
        const deviation = Math.sqrt((chance * (1 - chance)) / draws)
        expect(Math.abs(counts[id]! / draws - chance)).toBeLessThan(5 * deviation)
      }
    }
  })

  test('keeps to the top_k most likely tokens', () => {
    const logits = [1, 4, 3, 2, 0]
    expect(support(logits, { temperature: 2, top_k: 2 })).toEqual([1, 2])
    expect(support(logits, { temperature: 2, top_k: 1 })).toEqual([1])
    expect(support(logits, { temperature: 2, top_k: 0 })).toEqual([0, 1, 2, 3, 4])
    expect(support(logits, { temperature: 2, top_k: 99 })).toEqual([0, 1, 2, 3, 4])
  })

  test('keeps to the fewest tokens that hold top_p of the mass', () => {
    fc.assert(
      fc.property(row, fc.double({ min: 0.05, max: 0.999, noNaN: true }), fc.nat(), (logits, topP, seed) => {
        const chances = softmax(logits)
        const order = ranking(logits)
        const place = order.indexOf(choose(logits, { top_p: topP, seed }).token)
        const before = order.slice(0, place).reduce((sum, id) => sum + chances[id]!, 0)
        expect(before).toBeLessThan(topP + 1e-6)
      }),
    )
    const logits = [0.5, 0.25, 0.15, 0.1].map(Math.log)
    expect(support(logits, { top_p: 0.7 })).toEqual([0, 1])
    for (const topP of [0, 0.0001]) expect(support(logits, { top_p: topP })).toEqual([0])
    expect(support(logits, { top_p: 1 })).toEqual([0, 1, 2, 3])
  })

  test('keeps to tokens at least min_p times as likely as the best', () => {
    const logits = [0.5, 0.25, 0.15, 0.1].map(Math.log)
    expect(support(logits, { min_p: 0.4 })).toEqual([0, 1])
    expect(support(logits, { min_p: 0.29 })).toEqual([0, 1, 2])
    expect(support(logits, { min_p: 1 })).toEqual([0])
    expect(support(logits, { min_p: 0 })).toEqual([0, 1, 2, 3])
  })

  test('survives the smallest and the largest temperature', () => {
    for (const temperature of [Number.MIN_VALUE, 1e-30, 2]) {
      expect(choose([1, 5, 2], { temperature, top_k: 1 }).token).toBe(1)
    }
    expect(choose([1, 5, 2], { temperature: Number.MIN_VALUE }).token).toBe(1)
  })
})

describe('penalties and biases', () => {
  const greedy = { temperature: 0 } as const

  test('logit_bias adds to the logits it names, and ignores ids beyond the vocabulary', () => {
    expect(choose([1, 0], { ...greedy, logit_bias: { 1: 0.9 } }).token).toBe(0)
    expect(choose([1, 0], { ...greedy, logit_bias: { 1: 1.1 } }).token).toBe(1)
    expect(choose([1, 0], { ...greedy, logit_bias: { 999: 100 } }).token).toBe(0)
  })

  test('presence is subtracted once, frequency for every occurrence, of generated tokens alone', () => {
    const outputTokens = [0, 0, 0]
    expect(choose([1, 0], { ...greedy, outputTokens, presence_penalty: 0.9 }).token).toBe(0)
    expect(choose([1, 0], { ...greedy, outputTokens, presence_penalty: 1.1 }).token).toBe(1)
    expect(choose([1, 0], { ...greedy, outputTokens, frequency_penalty: 0.32 }).token).toBe(0)
    expect(choose([1, 0], { ...greedy, outputTokens, frequency_penalty: 0.34 }).token).toBe(1)
    expect(
      choose([1, 0], { ...greedy, promptTokens: outputTokens, presence_penalty: 2, frequency_penalty: 2 }).token,
    ).toBe(0)
  })

  test('repetition divides positive and multiplies negative logits, once, of prompt and answer', () => {
    expect(choose([1, 0.6], { ...greedy, promptTokens: [0], outputTokens: [0], repetition_penalty: 1.5 }).token).toBe(0)
    expect(choose([1, 0.6], { ...greedy, promptTokens: [0], repetition_penalty: 1.7 }).token).toBe(1)
    expect(choose([-1, -1.6], { ...greedy, outputTokens: [0], repetition_penalty: 1.5 }).token).toBe(0)
    expect(choose([-1, -1.6], { ...greedy, outputTokens: [0], repetition_penalty: 1.7 }).token).toBe(1)
    for (const temperature of [0, 1]) {
      const near0 = { temperature, promptTokens: [1, 2], repetition_penalty: Number.MIN_VALUE }
      expect([1, 2]).toContain(choose([1, 0.6, 0.5], near0).token)
    }
  })

  test('min_tokens keeps every stop token away until it is reached', () => {
    const options = { ...greedy, min_tokens: 2, endTokenIds: [0, 1] }
    expect(choose([9, 8, 1], options).token).toBe(2)
    expect(choose([9, 8, 1], { ...options, outputTokens: [2] }).token).toBe(2)
    expect(choose([9, 8, 1], { ...options, outputTokens: [2, 2] }).token).toBe(0)
  })
})

describe('log probabilities', () => {
  test('are normalised, sorted, and of the model itself whatever the sampling does to its logits', () => {
    fc.assert(
      fc.property(row, fc.nat(20), fc.nat(), (logits, count, seed) => {
        const options = { logprobs: count, seed, temperature: 1.7, top_k: 3, logit_bias: { 0: 5 } }
        const { token, logprob, top } = choose(logits, options)
        const chances = softmax(logits)
        expect(Math.exp(logprob)).toBeCloseTo(chances[token]!, 5)
        expect(top.map((other) => other.token)).toEqual(ranking(logits).slice(0, count))
        for (const other of top) expect(Math.exp(other.logprob)).toBeCloseTo(chances[other.token]!, 5)
        if (count >= logits.length) {
          expect(top.reduce((sum, other) => sum + Math.exp(other.logprob), 0)).toBeCloseTo(1, 5)
        }
      }),
    )
  })

  test('are left out unless asked for, and may be asked for without alternatives', () => {
    expect(choose([1, 2]).top).toEqual([])
    const { top, logprob } = choose([0, 0], { logprobs: 0 })
    expect(top).toEqual([])
    expect(logprob).toBeCloseTo(-Math.log(2))
  })
})
