// The tokenizer inside a GGUF file, rebuilt: what is split where, what is added, and what begins and ends a text.
import { expect, test } from 'vitest'
import { ggufTokenizer, withGgufTokens } from '../../../gpu-backend/model/gguf-tokenizer.ts'
import { Tokenizer } from '../../../gpu-backend/model/tokenizer.ts'

const TOKENS = ['<s>', '</s>', '<|turn|>', '1', '2', '12', 'a', 'b', 'ab', 'Ã', '©', 'e', 'Ġ', "'", 's', "'s"]

function tokenizer(metadata: Record<string, string | number | boolean>): Tokenizer {
  const types = TOKENS.map((_, id) => (id < 3 ? 3 : 1))
  const entries = {
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.tokens': TOKENS,
    'tokenizer.ggml.token_type': types,
    'tokenizer.ggml.merges': ['a b', '1 2', "' s"],
    'tokenizer.ggml.bos_token_id': 0,
    'tokenizer.ggml.eos_token_id': 1,
    ...metadata,
  }
  const header = { metadata: new Map(Object.entries(entries)), tensors: new Map() }
  return new Tokenizer(ggufTokenizer('model.gguf', header, [1]))
}

const texts = (metadata: Record<string, string | number | boolean>, text: string) =>
  Array.from(tokenizer(metadata).encode(text), (id) => TOKENS[id])

test.each([
  ['gpt-2', ['ab', '12', "'s"]],
  ['smollm', ['ab', '1', '2', "'s"]],
  ['qwen2', ['ab', '1', '2', "'s"]],
  ['smaug-bpe', ['ab', '12', "'s"]],
])('digits are split as the tokenizer %s splits them', (pre, expected) => {
  expect(texts({ 'tokenizer.ggml.pre': pre }, "ab12's")).toEqual(expected)
})

test('control tokens are one token each, wherever they stand', () => {
  expect(texts({ 'tokenizer.ggml.pre': 'qwen2' }, 'a<|turn|>b')).toEqual(['a', '<|turn|>', 'b'])
})

test('control tokens that end a turn or a text end an answer, though the file names none or one of them', () => {
  const tokens = ['a', '<|im_start|>', '<|im_end|>', '<|endoftext|>', '<|eot_id|>', '<|end_of_text|>']
  const ends = (types: readonly number[], named: readonly number[]) => {
    const metadata = {
      'tokenizer.ggml.model': 'gpt2',
      'tokenizer.ggml.pre': 'qwen2',
      'tokenizer.ggml.tokens': tokens,
      'tokenizer.ggml.token_type': types,
    }
    return ggufTokenizer('model.gguf', { metadata: new Map(Object.entries(metadata)), tensors: new Map() }, named)
  }
  expect(ends([1, 3, 3, 3, 3, 3], [2]).eosTokenIds).toEqual([2, 3, 4, 5])
  // As texts that a user may write they end nothing.
  expect(ends([1, 3, 1, 4, 3, 1], [0]).eosTokenIds).toEqual([0, 4])
})

test('Qwen composes characters before it splits, as its tokenizer.json does', () => {
  expect(texts({ 'tokenizer.ggml.pre': 'qwen2' }, 'e\u0301')).toEqual(['Ã', '©'])
})

test("a text begins with the first token where the file says so, and for Llama 3 where it doesn't say", () => {
  const bpe = { 'tokenizer.ggml.pre': 'llama-bpe' }
  expect(texts(bpe, 'a')).toEqual(['<s>', 'a'])
  expect(texts({ ...bpe, 'tokenizer.ggml.add_bos_token': false }, 'a')).toEqual(['a'])
  expect(texts({ 'tokenizer.ggml.pre': 'gpt-2', 'tokenizer.ggml.add_bos_token': true }, 'a')).toEqual(['<s>', 'a'])
  expect(texts({ 'tokenizer.ggml.pre': 'gpt-2' }, 'a')).toEqual(['a'])
})

test('conversations with tools are written with the template that the file has for them', () => {
  const templates = {
    'tokenizer.ggml.pre': 'gpt-2',
    'tokenizer.chat_template': 'plain',
    'tokenizer.chat_template.tool_use': '{{ tools[0].function.name }}',
  }
  const messages = [{ role: 'user' as const, content: 'a' }]
  const tools = [{ type: 'function' as const, function: { name: 'add' } }]
  expect(tokenizer(templates).renderChat(messages)).toBe('plain')
  expect(tokenizer(templates).renderChat(messages, { tools })).toBe('add')
})

test('what the files beside a GGUF do not say, its metadata do, and an answer ends with the end tokens of both', () => {
  const metadata = {
    // Of a kind that cannot be rebuilt.
    'tokenizer.ggml.model': 'llama',
    'tokenizer.ggml.tokens': TOKENS,
    'tokenizer.ggml.token_type': TOKENS.map((_, id) => (id < 3 ? 3 : 1)),
    'tokenizer.ggml.bos_token_id': 0,
    'tokenizer.ggml.eos_token_id': 1,
    'tokenizer.chat_template': 'plain',
    'tokenizer.chat_template.tool_use': 'tools',
  }
  const header = { metadata: new Map(Object.entries(metadata)), tensors: new Map() }
  const bare = { tokenizer: {}, config: {}, bosToken: '', eosToken: '', chatTemplate: undefined, eosTokenIds: [7] }
  const said = { bosToken: '<s>', eosToken: '</s>', chatTemplate: 'plain', toolTemplate: 'tools', eosTokenIds: [7, 1] }
  expect(withGgufTokens('model.gguf', header, bare)).toEqual({ ...bare, ...said })
  const full = { ...bare, bosToken: '[', eosToken: ']', chatTemplate: 'own' }
  expect(withGgufTokens('model.gguf', header, full)).toEqual({ ...full, toolTemplate: undefined, eosTokenIds: [7, 1] })
})
