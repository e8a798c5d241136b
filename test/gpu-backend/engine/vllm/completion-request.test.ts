import { describe, expect, test } from 'vitest'
import { completionRequest, sampledTokens } from '../../../../gpu-backend/engine/vllm/completion-request.ts'
import { SamplingParams } from '../../../../gpu-backend/protocol.ts'

const INPUT = {
  model: 'sha256:1',
  tenant: 'acme',
  promptTokens: Int32Array.of(1, 2, 3),
  seed: undefined as number | undefined,
  endTokenIds: [2, 7],
  maxTokens: 20,
}
const bodyOf = (sampling: Partial<SamplingParams>, changes: Partial<typeof INPUT> = {}) =>
  completionRequest({ ...INPUT, ...changes, sampling: SamplingParams.parse(sampling) })

describe('a completion', () => {
  test('carries every sampling parameter', () => {
    const given = {
      temperature: 0.7,
      top_p: 0.9,
      top_k: 40,
      min_p: 0.05,
      presence_penalty: 0.5,
      frequency_penalty: -0.5,
      repetition_penalty: 1.1,
      min_tokens: 4,
      logit_bias: { '17': -5 },
    }
    expect(bodyOf(given, { seed: 42 })).toMatchObject({ ...given, seed: 42, max_tokens: 20 })
    // Every field of the protocol is either here or dealt with by name below.
    const elsewhere = ['max_tokens', 'stop', 'stop_token_ids', 'logprobs', 'response_format', 'seed']
    const known = [...Object.keys(given), ...elsewhere]
    expect(Object.keys(SamplingParams.shape).filter((name) => !known.includes(name))).toEqual([])
  })

  test('ends at the end tokens, and at no stop string: those are found where the text is made', () => {
    const body = bodyOf({ stop: ['END'], stop_token_ids: [7] })
    expect(body.stop_token_ids).toEqual([2, 7])
    expect(body).not.toHaveProperty('stop')
    expect(body).not.toHaveProperty('seed')
  })

  test('keeps the likeliest token alone where top_p is 0, which vLLM does not take', () => {
    expect(bodyOf({ top_p: 0 }).top_p).toBe(1e-6)
  })

  test('asks for no more tokens at least than at most', () => {
    expect(bodyOf({ min_tokens: 500 }).min_tokens).toBe(20)
  })

  test('shares the prefix cache with nobody but its own tenant, whose name it does not tell', () => {
    const salt = bodyOf({}).cache_salt
    expect(bodyOf({ temperature: 0 }).cache_salt).toBe(salt)
    expect(bodyOf({}, { tenant: 'other' }).cache_salt).not.toBe(salt)
    expect(salt).toMatch(/^[0-9a-f]{64}$/)
  })

  test('held to a format ends when that is complete, and no stop token breaks it off', () => {
    const schema = { type: 'object' }
    const format = { type: 'json_schema' as const, json_schema: { schema } }
    const body = bodyOf({ response_format: format, min_tokens: 10, stop_token_ids: [7], logit_bias: { '3': 1 } })
    expect(body).toMatchObject({
      response_format: { type: 'json_schema', json_schema: { name: 'answer', schema } },
      min_tokens: 0,
      logit_bias: { '3': 1, '7': -100 },
    })
    expect(body).not.toHaveProperty('stop_token_ids')
    expect(bodyOf({ response_format: { type: 'text' } }).stop_token_ids).toEqual([2, 7])
  })
})

describe('a chunk', () => {
  test('is its tokens, each with as many alternatives as were asked for, the likeliest first', () => {
    const logprobs = {
      token_logprobs: [-2, -0.1],
      top_logprobs: [
        { 'token_id:5': -2, 'token_id:8': -0.3, 'token_id:9': -1.5 },
        { 'token_id:6': -0.1, 'token_id:1': -3 },
      ],
    }
    const chunk = { choices: [{ token_ids: [5, 6], logprobs }] }
    expect(sampledTokens(chunk, 2)).toEqual([
      {
        token: 5,
        logprob: -2,
        top: [
          { token: 8, logprob: -0.3 },
          { token: 9, logprob: -1.5 },
        ],
      },
      {
        token: 6,
        logprob: -0.1,
        top: [
          { token: 6, logprob: -0.1 },
          { token: 1, logprob: -3 },
        ],
      },
    ])
    expect(sampledTokens(chunk).map(({ top }) => top)).toEqual([[], []])
  })

  test('without a token is none', () => {
    expect(sampledTokens({ choices: [] })).toEqual([])
  })

  test('whose log probability is no number fails the answer', () => {
    const logprobs = { token_logprobs: [null], top_logprobs: [{ 'token_id:0': null }] }
    expect(() => sampledTokens({ choices: [{ token_ids: [0], logprobs }] })).toThrow(/overflow/)
  })
})
