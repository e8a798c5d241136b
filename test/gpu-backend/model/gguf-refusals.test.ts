// GGUF files that cannot be served rightly are refused when they are opened, by what is in them.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { StartupError } from '../../../gpu-backend/errors.ts'
import { openModelSource } from '../../../gpu-backend/model/open-model.ts'
import { ARCHITECTURES } from '../../support/architecture-goldens.ts'
import { mutate } from '../../support/mutate.ts'
import { expectOneSentence } from '../../support/one-sentence.ts'
import { seededRandom } from '../../support/seeded-random.ts'
import { temporaryDir } from '../../support/temporary-dir.ts'
import { type GgufMetadata, type GgufTensorData, writeGguf } from '../../support/write-gguf.ts'

const dir = temporaryDir()
const path = join(dir, 'model.gguf')
const [HIDDEN, MIDDLE, VOCAB] = [64, 32, 8]

const METADATA: GgufMetadata = {
  'general.architecture': 'llama',
  'llama.block_count': 1,
  'llama.context_length': 128,
  'llama.embedding_length': HIDDEN,
  'llama.feed_forward_length': MIDDLE,
  'llama.attention.head_count': 4,
  'llama.attention.head_count_kv': 2,
  'llama.attention.layer_norm_rms_epsilon': 0.00001,
  'llama.rope.freq_base': 10_000.5,
  'tokenizer.ggml.model': 'gpt2',
  'tokenizer.ggml.pre': 'gpt-2',
  'tokenizer.ggml.tokens': ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'],
  'tokenizer.ggml.token_type': [1, 1, 1, 1, 1, 1, 1, 1],
  'tokenizer.ggml.merges': ['a b'],
}

function tensor(name: string, ...dims: number[]): GgufTensorData {
  const count = dims.reduce((product, size) => product * size, 1)
  return { name, type: 0, dims, bytes: new Uint8Array(new Float32Array(count).fill(0.5).buffer) }
}

const TENSORS = [
  tensor('token_embd.weight', HIDDEN, VOCAB),
  tensor('blk.0.attn_norm.weight', HIDDEN),
  tensor('blk.0.attn_q.weight', HIDDEN, 64),
  tensor('blk.0.attn_k.weight', HIDDEN, 32),
  tensor('blk.0.attn_v.weight', HIDDEN, 32),
  tensor('blk.0.attn_output.weight', 64, HIDDEN),
  tensor('blk.0.ffn_norm.weight', HIDDEN),
  tensor('blk.0.ffn_gate.weight', HIDDEN, MIDDLE),
  tensor('blk.0.ffn_up.weight', HIDDEN, MIDDLE),
  tensor('blk.0.ffn_down.weight', MIDDLE, HIDDEN),
  tensor('output_norm.weight', HIDDEN),
]

/** Opens a file with these changes and loads every weight. */
async function open(metadata: Record<string, GgufMetadata[string]> = {}, tensors: readonly GgufTensorData[] = TENSORS) {
  writeFileSync(path, writeGguf({ ...METADATA, ...metadata }, tensors))
  return openModelSource(path)
}

async function refusal(opening: Promise<unknown>): Promise<string> {
  const error = await opening.then(
    () => new Error('was accepted'),
    (reason: unknown) => reason,
  )
  if (!(error instanceof StartupError)) throw error
  expectOneSentence(error.message)
  return error.message
}

test('a plain file is accepted, tied where it has no output tensor', async () => {
  const { config } = await open()
  expect(config).toMatchObject({ headDim: 16, kvHeads: 2, tiedEmbeddings: true, mlpBias: false, vocabSize: VOCAB })
})

test('biases that the file holds are used', async () => {
  const names = ['attn_q', 'attn_k', 'attn_v', 'attn_output', 'ffn_gate', 'ffn_up', 'ffn_down']
  const biases = names.map((name) => tensor(`blk.0.${name}.bias`, 8))
  expect((await open({}, [...TENSORS, ...biases])).config).toMatchObject({ qkvBias: true, mlpBias: true })
})

test.each(['qwen3', 'smollm3'])('biases of attention that a %s file holds are used', async (architecture) => {
  const own = Object.entries(METADATA).map(([key, value]) => [key.replace(/^llama\./, `${architecture}.`), value])
  const metadata = { ...Object.fromEntries(own), 'general.architecture': architecture }
  const biases = ['attn_q', 'attn_k', 'attn_v', 'attn_output'].map((name) => tensor(`blk.0.${name}.bias`, 8))
  expect((await open(metadata, TENSORS)).config).toMatchObject({ qkvBias: false, outputBias: false })
  expect((await open(metadata, [...TENSORS, ...biases])).config).toMatchObject({ qkvBias: true, outputBias: true })
})

test('the end of a turn ends an answer as the end of the text does', async () => {
  const ends = { 'tokenizer.ggml.eos_token_id': 2, 'tokenizer.ggml.eot_token_id': 5 }
  expect((await open(ends)).config.eosTokenIds).toEqual([2, 5])
})

test('control tokens that end an answer by their text are the tokenizer’s, and not in the configuration, which adapters are bound to', async () => {
  const { config, tokenizer } = await open({
    'tokenizer.ggml.tokens': ['a', 'b', 'c', 'd', 'e', 'f', '<|endoftext|>', '<|im_end|>'],
    'tokenizer.ggml.token_type': [1, 1, 1, 1, 1, 1, 3, 3],
    'tokenizer.ggml.eos_token_id': 7,
  })
  expect(tokenizer.eosTokenIds).toEqual([7, 6])
  expect(config.eosTokenIds).toEqual([7])
})

test('linear scaling is read in its old and its new form', async () => {
  const linear = { rope_type: 'linear', factor: 4 }
  expect((await open({ 'llama.rope.scale_linear': 4 })).config.ropeScaling).toMatchObject(linear)
  const typed = { 'llama.rope.scaling.type': 'linear', 'llama.rope.scaling.factor': 4 }
  expect((await open(typed)).config.ropeScaling).toMatchObject(linear)
  expect((await open({ 'llama.rope.scaling.type': 'none' })).config.ropeScaling).toBeUndefined()
})

describe('metadata that changes the model in a way that is not supported is refused by key and value', () => {
  test.each([
    [{ 'general.architecture': 'mamba' }, 'general.architecture = "mamba"'],
    [{ 'llama.expert_count': 8 }, 'llama.expert_count = 8'],
    [{ 'llama.rope.scaling.type': 'longrope' }, 'rope_scaling.rope_type = "longrope"'],
    [{ 'llama.rope.scaling.attn_factor': 1.5 }, 'llama.rope.scaling.attn_factor = 1.5'],
    [{ 'llama.rope.dimension_count': 8 }, 'partial_rotary_factor = 0.5'],
    [{ 'llama.attention.key_length': 24 }, 'head_dim = 24'],
    [{ 'llama.attention.head_count': 0 }, '"num_attention_heads" = 0'],
    [{ 'llama.feed_forward_length': [32, 64] }, '"intermediate_size" = [32,64]'],
    [{ 'split.count': 3 }, 'is one of 3 parts'],
    [{ 'tokenizer.ggml.model': 'llama' }, 'tokenizer "llama" (gpt-2)'],
    [{ 'tokenizer.ggml.tokens': [1, 2, 3, 4, 5, 6, 7, 8] }, 'tokenizer.ggml.tokens is not a list of the right kind'],
    [{ 'tokenizer.ggml.merges': 'a b' }, 'tokenizer.ggml.merges is not a list of the right kind'],
    [{ 'tokenizer.ggml.token_type': ['a'] }, 'tokenizer.ggml.token_type is not a list of the right kind'],
    [{ 'llama.rope.freq_base': 'fast' }, '"rope_theta" = "fast"'],
    [{ 'llama.block_count': 'one' }, '"num_hidden_layers" = "one"'],
    [{ 'tokenizer.ggml.pre': 'deepseek-llm' }, 'tokenizer "gpt2" (deepseek-llm)'],
  ])('%j', async (metadata, named) => {
    const message = await refusal(open(metadata))
    expect(message).toContain(named)
    expect(message).toContain(path)
  })
})

describe('tensors that would be ignored, misread or missing are refused by name', () => {
  test.each([
    [
      'an unknown one',
      tensor('blk.0.ffn_gate_inp.weight', 8),
      /tensor "blk\.0\.ffn_gate_inp\.weight" is not supported/,
    ],
    ['a fused one', tensor('blk.0.attn_qkv.weight', 8), /attn_qkv/],
    ['an unknown type', { ...tensor('output.weight', 8), type: 10 }, /"output\.weight" has GGML type 10.*Q4_K/],
    ['half a block', { ...tensor('output.weight', 40, 2), type: 8 }, /"output\.weight" has rows of 40 values.*Q8_0/],
    ['divisors of another length', tensor('rope_freqs.weight', 4), /rope_freqs\.weight does not fit/],
  ])('%s', async (_, extra, pattern) => {
    expect(await refusal(open({}, [...TENSORS, extra]))).toMatch(pattern)
  })

  test('a file that was cut short anywhere', async () => {
    const bytes = writeGguf(METADATA, TENSORS)
    for (const length of [0, 3, 20, 400, bytes.length - 4000, bytes.length - HIDDEN * 4, bytes.length - 1]) {
      writeFileSync(path, bytes.subarray(0, length))
      expect(await refusal(openModelSource(path))).toMatch(/truncated|not a GGUF file/)
    }
  })
})

test('five hundred damaged files are read or refused in one sentence', async () => {
  const bytes = new Uint8Array(readFileSync(join(ARCHITECTURES, 'q4_0.gguf')))
  const random = seededRandom(7)
  let refused = 0
  for (let i = 0; i < 500; i++) {
    writeFileSync(path, mutate(bytes, random, 2000))
    try {
      const source = await openModelSource(path)
      const weights = await source.openWeights()
      const { vocabSize, hiddenSize } = source.config
      await weights.load('model.embed_tokens.weight', [vocabSize, hiddenSize]).finally(() => weights.close())
    } catch (error) {
      if (!(error instanceof StartupError)) throw error
      expectOneSentence(error.message)
      refused += 1
    }
  }
  expect(refused).toBeGreaterThan(50)
})
