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
  test('shares out no more than its budget, and gives every row its whole context', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1e6, max: 4e9 }),
        fc.integer({ min: 1, max: 64 }),
        fc.integer({ min: 64, max: 8192 }),
        fc.constantFrom('f32', 'f16'),
        (budget, rows, context, floatType) => {
          let plan: ReturnType<typeof planMemory>
          try {
            plan = planMemory(config, budget, rows, context, floatType)
          } catch (error) {
            expect(error).toBeInstanceOf(StartupError)
            return
          }
          expect(plan.maxRows).toBeGreaterThan(0)
          expect(plan.maxRows).toBeLessThanOrEqual(rows)
          expect(plan.kvBytes).toBe(plan.maxRows * context * kvBytesPerToken(config, floatType))
          expect(plan.kvBytes + plan.stackBytes + plan.hostDeltaBytes + plan.prefixCacheBytes).toBeLessThanOrEqual(
            budget,
          )
        },
      ),
    )
  })

  test('counts keys and values of every layer for a token', () => {
    expect(kvBytesPerToken(config, 'f32')).toBe(2 * 30 * 3 * 64 * 4)
    expect(kvBytesPerToken(config, 'f16')).toBe(2 * 30 * 3 * 64 * 2)
  })
})

describe('the prefill chunk', () => {
  test('is a power of two between 16 and 128 tokens, smaller for larger models', () => {
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
    for (const size of sizes) expect([16, 32, 64, 128]).toContain(size)
  })
})
