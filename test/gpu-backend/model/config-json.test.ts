// A config.json with a value that is not supported, or none, is refused by field and value; what it leaves out is transformers'.
import { describe, expect, test } from 'vitest'
import { StartupError } from '../../../gpu-backend/errors.ts'
import { parseModelConfig } from '../../../gpu-backend/model/model-config.ts'
import { expectOneSentence } from '../../support/one-sentence.ts'
import fc from '../../support/properties.ts'

const CONFIG = {
  model_type: 'llama',
  vocab_size: 100,
  hidden_size: 64,
  num_hidden_layers: 8,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  intermediate_size: 96,
  max_position_embeddings: 256,
}

const parse = (fields: object) => parseModelConfig({ ...CONFIG, ...fields }, 'model/config.json')

function refusal(json: unknown): string {
  try {
    parseModelConfig(json, 'model/config.json')
  } catch (error) {
    if (!(error instanceof StartupError)) throw error
    expectOneSentence(error.message)
    expect(error.message).toMatch(/^model\/config\.json[: ]/)
    return error.message
  }
  throw new Error(`was accepted: ${JSON.stringify(json)}`)
}

const LLAMA3 = { rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4 }
const layers = (kind: string) => Array.from({ length: 8 }, () => kind)

describe('a value that is not supported is refused by its field and itself', () => {
  test.each([
    [{ model_type: 'gemma2' }, 'model_type = "gemma2"'],
    [{ model_type: 'constructor' }, 'model_type = "constructor"'],
    [{ hidden_act: 'gelu_pytorch_tanh' }, 'hidden_act = "gelu_pytorch_tanh"'],
    [{ quantization_config: { quant_method: 'gptq' } }, 'quantization_config = {"quant_method":"gptq"}'],
    [{ head_dim: 24 }, 'head_dim = 24'],
    [{ num_key_value_heads: 3 }, 'num_key_value_heads = 3'],
    [{ partial_rotary_factor: 0.5 }, 'partial_rotary_factor = 0.5'],
    [{ rope_parameters: { rope_type: 'default', partial_rotary_factor: 0.25 } }, 'partial_rotary_factor = 0.25'],
    [{ rope_scaling: { rope_type: 'longrope', factor: 4 } }, 'rope_scaling.rope_type = "longrope"'],
    [{ rope_scaling: { type: 'dynamic', factor: 4 } }, 'rope_scaling.rope_type = "dynamic"'],
    [{ rope_parameters: { rope_type: 'proportional' } }, 'rope_parameters.rope_type = "proportional"'],
    [
      { rope_parameters: { full_attention: { rope_type: 'default' } } },
      'rope_parameters.full_attention = {"rope_type"',
    ],
    [{ model_type: 'qwen3', layer_types: layers('chunked_attention') }, '"layer_types.0" = "chunked_attention"'],
    [{ model_type: 'smollm3', no_rope_layers: [1, 1, 1] }, 'no_rope_layers = [1,1,1]'],
    [{ model_type: 'qwen2', use_sliding_window: true, layer_types: ['sliding_attention'] }, 'layer_types = ["sliding'],
    [{ num_hidden_layers: 2 ** 40 }, '"num_hidden_layers" = 1099511627776'],
  ])('%j', (fields, named) => {
    expect(refusal({ ...CONFIG, ...fields })).toContain(named)
  })

  test.each([
    [{ rope_scaling: { rope_type: 'linear' } }, '"rope_scaling.factor" is missing'],
    [{ rope_scaling: { ...LLAMA3, low_freq_factor: undefined } }, '"rope_scaling.low_freq_factor" is missing'],
    [{ rope_parameters: { ...LLAMA3, high_freq_factor: null } }, '"rope_parameters.high_freq_factor" is missing'],
    [{ rope_scaling: { rope_type: 'yarn' } }, '"rope_scaling.factor" is missing'],
  ])('and so is what a rope scaling lacks: %j', (fields, named) => {
    expect(refusal({ ...CONFIG, ...fields })).toContain(named)
  })

  test('a long value is shown by its beginning', () => {
    const message = refusal({ ...CONFIG, quantization_config: { text: 'x'.repeat(10_000) } })
    expect(message.length).toBeLessThan(300)
  })

  test.each([[null], [[]], ['text'], [7], [true]])('and so is a file that holds %j', (json) => {
    expect(refusal(json)).toContain('is not a JSON object')
  })

  const wrong: Record<string, fc.Arbitrary<unknown>> = {
    size: fc.oneof(
      fc.integer({ max: 0 }),
      fc.double({ min: 0.1, max: 0.9 }),
      fc.string(),
      fc.boolean(),
      fc.constant({}),
    ),
    flag: fc.oneof(fc.integer(), fc.string(), fc.constant([])),
    text: fc.oneof(fc.integer(), fc.boolean(), fc.constant({})),
  }
  const FIELDS: Record<string, keyof typeof wrong> = {
    vocab_size: 'size',
    hidden_size: 'size',
    num_hidden_layers: 'size',
    num_attention_heads: 'size',
    num_key_value_heads: 'size',
    head_dim: 'size',
    intermediate_size: 'size',
    max_position_embeddings: 'size',
    sliding_window: 'size',
    tie_word_embeddings: 'flag',
    attention_bias: 'flag',
    mlp_bias: 'flag',
    use_sliding_window: 'flag',
    hidden_act: 'text',
    model_type: 'text',
  }
  test.each(Object.entries(FIELDS))('any value of the wrong kind in %s', (field, kind) => {
    fc.assert(
      fc.property(wrong[kind]!, (value) => {
        expect(refusal({ ...CONFIG, [field]: value })).toContain(`"${field}" = ${JSON.stringify(value)}`)
      }),
      { numRuns: 50 },
    )
  })

  const required = Object.keys(CONFIG).filter((field) => field !== 'num_key_value_heads')
  test.each(required)('a file without %s', (field) => {
    expect(refusal({ ...CONFIG, [field]: undefined })).toContain(`"${field}" is missing`)
  })
})

describe('what a file leaves out or a family ignores is as in transformers', () => {
  test('Mistral looks back on 4096 tokens unless it says null', () => {
    expect(parse({ model_type: 'mistral' }).attentionWindows[0]).toBe(4096)
    expect(parse({ model_type: 'mistral', sliding_window: null }).attentionWindows[0]).toBeUndefined()
  })

  test('Llama ignores a window and Mistral ignores biases, whatever the converter left in the file', () => {
    expect(parse({ sliding_window: 32 }).attentionWindows[0]).toBeUndefined()
    expect(parse({ model_type: 'mistral', attention_bias: true, mlp_bias: true })).toMatchObject({
      qkvBias: false,
      outputBias: false,
      mlpBias: false,
    })
  })

  test('Qwen has windows only where use_sliding_window says so, from max_window_layers on', () => {
    const windows = (fields: object) => parse({ model_type: 'qwen2', sliding_window: 32, ...fields }).attentionWindows
    expect(windows({})).toEqual(Array.from({ length: 8 }))
    expect(windows({ use_sliding_window: true })).toEqual(Array.from({ length: 8 }))
    const late = windows({ use_sliding_window: true, max_window_layers: 6 })
    expect(late).toEqual([...Array.from({ length: 6 }), 32, 32])
  })

  test('SmolLM3 ties its embeddings, has theta 2,000,000 and no positions in every fourth layer', () => {
    expect(parse({ model_type: 'smollm3' })).toMatchObject({
      tiedEmbeddings: true,
      ropeTheta: 2_000_000,
      ropeLayers: [true, true, true, false, true, true, true, false],
    })
    expect(parse({ model_type: 'smollm3', no_rope_layer_interval: 2 }).ropeLayers.slice(0, 4)).toEqual([
      true,
      false,
      true,
      false,
    ])
  })

  test('Qwen3 has heads of 128', () => {
    expect(parse({ model_type: 'qwen3' }).headDim).toBe(128)
  })

  test('null is a default or nothing, never a fault', () => {
    const nothing = ['rope_scaling', 'rope_theta', 'tie_word_embeddings', 'attention_bias', 'mlp_bias', 'hidden_act']
    const nulls = Object.fromEntries([...nothing, 'quantization_config', 'head_dim'].map((name) => [name, null]))
    expect(parse(nulls)).toEqual(parse({}))
  })

  test('rope_scaling goes before rope_parameters, and the theta inside before the one beside', () => {
    const both = { rope_scaling: { rope_type: 'linear', factor: 2 }, rope_parameters: { rope_type: 'yarn', factor: 3 } }
    expect(parse(both).ropeScaling).toMatchObject({ rope_type: 'linear', factor: 2 })
    expect(parse({ rope_theta: 5, rope_parameters: { rope_theta: 7 } }).ropeTheta).toBe(7)
  })

  test('yarn without a factor stretches from the original context to the whole', () => {
    const yarn = { rope_type: 'yarn', original_max_position_embeddings: 64 }
    expect(parse({ rope_scaling: yarn }).ropeScaling).toMatchObject({ factor: 4 })
  })
})
