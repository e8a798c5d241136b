import { describe, expect, test } from 'vitest'
import { kvBytesPerToken } from '../../../../gpu-backend/engine/onnx/kv-cache.ts'
import { planMemory } from '../../../../gpu-backend/engine/onnx/memory.ts'
import { prefillChunkTokens } from '../../../../gpu-backend/engine/onnx/prefill-chunk.ts'
import { StartupError } from '../../../../gpu-backend/errors.ts'
import { parseModelConfig } from '../../../../gpu-backend/model/model-config.ts'
import fc from '../../../support/properties.ts'

const SMOLLM2 = {
  model_type: 'llama',
  vocab_size: 49152,
  hidden_size: 576,
  num_hidden_layers: 30,
  num_attention_heads: 9,
  num_key_value_heads: 3,
  intermediate_size: 1536,
  max_position_embeddings: 8192,
}
const config = parseModelConfig(SMOLLM2, 'config.json')

describe('the memory plan', () => {
  test('shares out no more than its budget, and gives one row its whole context, or every row', () => {
    fc.assert(
      fc.property(
        fc.record({
          budgetBytes: fc.integer({ min: 1e6, max: 4e9 }),
          maxRows: fc.integer({ min: 1, max: 64 }),
          contextTokens: fc.integer({ min: 64, max: 8192 }),
          floatType: fc.constantFrom('f32', 'f16'),
          sharesTokens: fc.boolean(),
        }),
        (options) => {
          const { budgetBytes, maxRows, contextTokens, floatType } = options
          let plan: ReturnType<typeof planMemory>
          try {
            plan = planMemory(config, options)
          } catch (error) {
            expect(error).toBeInstanceOf(StartupError)
            return
          }
          expect(plan.maxRows).toBeGreaterThan(0)
          expect(plan.maxRows).toBeLessThanOrEqual(maxRows)
          const whole = plan.maxRows * contextTokens
          expect(plan.kvTokens).toBeLessThanOrEqual(whole)
          expect(plan.kvTokens).toBeGreaterThanOrEqual(options.sharesTokens ? contextTokens : whole)
          expect(plan.kvBytes).toBe(plan.kvTokens * kvBytesPerToken(config, floatType))
          expect(plan.kvBytes + plan.stackBytes + plan.hostDeltaBytes + plan.prefixCacheBytes).toBeLessThanOrEqual(
            budgetBytes,
          )
        },
      ),
    )
  })

  test('has more rows where they share the tokens, each of some hundred at least, and as many where all have room', () => {
    const sizes = { maxRows: 32, contextTokens: 4096, floatType: 'f32' } as const
    const rows = (budgetBytes: number, sharesTokens: boolean) => {
      const plan = planMemory(config, { ...sizes, budgetBytes, sharesTokens })
      return [plan.maxRows, Math.floor(plan.kvTokens / plan.maxRows)]
    }
    expect(rows(2e9, false)).toEqual([6, 4096])
    expect(rows(2e9, true)).toEqual([26, 661])
    expect(rows(6e9, false)).toEqual([18, 4096])
    expect(rows(6e9, true)).toEqual([32, 2034])
    expect(rows(20e9, false)).toEqual([32, 4096])
    expect(rows(20e9, true)).toEqual([32, 4096])
  })

  test('counts keys and values of every layer for a token', () => {
    expect(kvBytesPerToken(config, 'f32')).toBe(2 * 30 * 3 * 64 * 4)
    expect(kvBytesPerToken(config, 'f16')).toBe(2 * 30 * 3 * 64 * 2)
  })
})

describe('the prefill chunk', () => {
  test('is a power of two between 32 and 128 tokens, smaller for larger models', () => {
    const sizes = [64, 576, 2048, 8192].map((hidden_size) => {
      const sized = {
        ...SMOLLM2,
        hidden_size,
        intermediate_size: 3 * hidden_size,
        num_attention_heads: hidden_size / 64,
        num_key_value_heads: null,
      }
      return prefillChunkTokens(parseModelConfig(sized, 'config.json'), 'cpu')
    })
    expect(sizes).toEqual(sizes.toSorted((x, y) => y - x))
    for (const size of sizes) expect([32, 64, 128]).toContain(size)
  })
})
