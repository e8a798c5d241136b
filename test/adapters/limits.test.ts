import { describe, expect, test } from 'vitest'
import { AdapterError } from '../../adapters/errors.ts'
import { checkModuleLimits } from '../../adapters/limits.ts'
import { expectOneSentence } from '../support/one-sentence.ts'

const modules = new Map([
  ['model.layers.0.self_attn.q_proj', { rank: 16 }],
  ['model.layers.1.mlp.down_proj', { rank: 64 }],
  ['lm_head', { rank: 8 }],
])

function refusal(limits: Parameters<typeof checkModuleLimits>[1]): AdapterError | undefined {
  try {
    checkModuleLimits(modules, limits)
    return undefined
  } catch (error) {
    if (!(error instanceof AdapterError)) throw error
    expectOneSentence(error.message)
    return error
  }
}

describe('what a backend can apply', () => {
  test('is any adapter up to its rank, on modules that it can change', () => {
    expect(refusal({ maxRank: 64 })).toBeUndefined()
    expect(refusal({ maxRank: 64, fixedModules: ['embed_tokens', 'head'] })).toBeUndefined()
  })

  test('is no larger rank, and the refusal names both ranks', () => {
    expect(refusal({ maxRank: 63 })).toMatchObject({ code: 'too_large', message: expect.stringMatching(/64.*63/) })
  })

  test('is no module that it keeps fixed, and the refusal names it', () => {
    const refused = refusal({ maxRank: 64, fixedModules: ['embed_tokens', 'lm_head'] })
    expect(refused).toMatchObject({ code: 'unsupported', message: expect.stringContaining('lm_head') })
  })
})
