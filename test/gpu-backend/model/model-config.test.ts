import { describe, expect, test } from 'vitest'
import { StartupError } from '../../../gpu-backend/errors.ts'
import { parseModelConfig } from '../../../gpu-backend/model/model-config.ts'
import { expectOneSentence } from '../../support/one-sentence.ts'

const LLAMA = {
  model_type: 'llama',
  vocab_size: 100,
  hidden_size: 64,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  intermediate_size: 96,
  max_position_embeddings: 256,
}

const parse = (fields: Record<string, unknown> = {}) => parseModelConfig({ ...LLAMA, ...fields }, 'model/config.json')

function refusal(fields: Record<string, unknown>): string {
  try {
    parse(fields)
  } catch (error) {
    if (!(error instanceof StartupError)) throw error
    expectOneSentence(error.message)
    expect(error.message).toContain('model/config.json')
    return error.message
  }
  throw new Error('was accepted')
}

describe("a model's configuration", () => {
  test("has transformers' defaults for what an old Llama leaves out", () => {
    expect(parse()).toMatchObject({
      kvHeads: 4,
      headDim: 16,
      ropeTheta: 10_000,
      ropeScaling: undefined,
      rmsNormEps: 1e-6,
      tiedEmbeddings: false,
      qkvBias: false,
      qkNorm: false,
      ropeLayers: [true, true, true, true],
      attentionWindows: [undefined, undefined, undefined, undefined],
      eosTokenIds: [],
    })
  })

  test('may have heads of another size than hidden / heads, and fewer key and value heads', () => {
    expect(parse({ head_dim: 32, num_key_value_heads: 2 })).toMatchObject({ headDim: 32, kvHeads: 2 })
  })

  test('knows what each family adds', () => {
    expect(parse({ model_type: 'qwen2' })).toMatchObject({ qkvBias: true, outputBias: false })
    expect(parse({ model_type: 'qwen3' })).toMatchObject({ qkvBias: false, qkNorm: true })
    expect(parse({ attention_bias: true, mlp_bias: true })).toMatchObject({
      qkvBias: true,
      outputBias: true,
      mlpBias: true,
    })
    expect(parse({ model_type: 'smollm3', no_rope_layers: [1, 1, 1, 0] }).ropeLayers).toEqual([true, true, true, false])
  })

  test('looks back only as far as its layers do', () => {
    expect(parse({ model_type: 'mistral', sliding_window: 32 }).attentionWindows).toEqual([32, 32, 32, 32])
    expect(parse({ sliding_window: 32, use_sliding_window: false }).attentionWindows[0]).toBeUndefined()
    const types = ['full_attention', 'sliding_attention', 'full_attention', 'sliding_attention']
    const mixed = parse({ model_type: 'qwen3', sliding_window: 32, use_sliding_window: true, layer_types: types })
    expect(mixed.attentionWindows).toEqual([undefined, 32, undefined, 32])
  })

  test('looks back as its list of layers says, where transformers asks for no switch', () => {
    const types = ['full_attention', 'sliding_attention', 'full_attention', 'sliding_attention']
    for (const model_type of ['mistral', 'smollm3']) {
      const listed = parse({ model_type, sliding_window: 32, layer_types: types })
      expect(listed.attentionWindows, model_type).toEqual([undefined, 32, undefined, 32])
    }
    const qwen = parse({ model_type: 'qwen2', sliding_window: 32, layer_types: types })
    expect(qwen.attentionWindows).toEqual([undefined, undefined, undefined, undefined])
  })

  test('may name one end token, several, or none', () => {
    expect(parse({ eos_token_id: 2 }).eosTokenIds).toEqual([2])
    expect(parse({ eos_token_id: [2, 7] }).eosTokenIds).toEqual([2, 7])
    expect(parse({ eos_token_id: null }).eosTokenIds).toEqual([])
  })

  test('reads rope scaling in its old and its new place', () => {
    expect(parse({ rope_scaling: { type: 'linear', factor: 2 } }).ropeScaling).toMatchObject({
      rope_type: 'linear',
      factor: 2,
    })
    expect(parse({ rope_parameters: { rope_type: 'default', rope_theta: 500 } })).toMatchObject({
      ropeScaling: undefined,
      ropeTheta: 500,
    })
  })

  test('reads the original context of a stretched one beside the scaling before the one inside, as transformers 5 does', () => {
    const inside = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 64 }
    expect(parse({ rope_scaling: inside }).ropeScaling?.original_max_position_embeddings).toBe(64)
    const both = parse({ rope_scaling: inside, original_max_position_embeddings: 32 })
    expect(both.ropeScaling?.original_max_position_embeddings).toBe(32)
  })

  test.each([
    [{ model_type: 'gpt2' }, 'model_type = "gpt2"'],
    [{ hidden_act: 'gelu' }, 'hidden_act = "gelu"'],
    [{ quantization_config: { bits: 4 } }, 'quantization_config'],
    [{ head_dim: 20 }, 'head_dim = 20'],
    [{ num_attention_heads: 5 }, 'head_dim = 12.8'],
    [{ num_key_value_heads: 3 }, 'num_key_value_heads = 3'],
    [{ rope_scaling: { rope_type: 'dynamic', factor: 2 } }, 'rope_scaling.rope_type = "dynamic"'],
    [{ hidden_size: 0 }, '"hidden_size"'],
    [{ vocab_size: '100' }, '"vocab_size"'],
    [{ num_hidden_layers: undefined }, '"num_hidden_layers"'],
  ])('refuses %j by the name of the field', (fields, named) => {
    expect(refusal(fields)).toContain(named)
  })
})
