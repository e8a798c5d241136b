import { expect, test } from 'vitest'
import { longestTokenBytes, tokenBytes } from '../../../gpu-backend/model/token-bytes.ts'
import { Tokenizer } from '../../../gpu-backend/model/tokenizer.ts'
import { embeddedTokenizerFiles } from '../../support/tiny-model.ts'

const unigram = (byteFallback: boolean) => ({
  added_tokens: [{ id: 0, content: '<unk>', special: true, normalized: false }],
  normalizer: null,
  pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
  post_processor: null,
  decoder: {
    type: 'Sequence',
    decoders: [
      { type: 'ByteFallback' },
      { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
    ],
  },
  model: {
    type: 'Unigram',
    unk_id: 0,
    byte_fallback: byteFallback,
    vocab: ['<unk>', '▁', '▁hello', 'é', '<0xC3>', '<0xB1>', '<0xE2>'].map((token) => [token, -1]),
  },
})
const tokenizerOf = (json: object) => new Tokenizer({ ...embeddedTokenizerFiles(), tokenizer: json, config: {} })

test('a Unigram model with byte fallback writes what its vocabulary lacks as bytes, where it has them all', () => {
  const tokenizer = tokenizerOf(unigram(true))
  expect([...tokenizer.encode('hello ñé')]).toEqual([2, 1, 4, 5, 3])
  expect([...tokenizer.encode('hello €')]).toEqual([2, 1, 0])
  expect(Array.from([2, 1, 4, 5], (id) => tokenizer.tokenName(id).token)).toEqual([
    ' hello',
    ' ',
    'bytes:\\xc3',
    'bytes:\\xb1',
  ])
})

test('a Unigram model without byte fallback reads what its vocabulary lacks as unknown', () => {
  expect([...tokenizerOf(unigram(false)).encode('hello ñé')]).toEqual([2, 1, 0, 3])
})

test('the bytes of a Unigram model’s tokens are found by id, as those of other models', () => {
  const text = tokenBytes(unigram(true))!.map((bytes) => bytes && Buffer.from(bytes).toString('latin1'))
  expect(text).toEqual([undefined, ' ', ' hello', '\xc3\xa9', '\xc3', '\xb1', '\xe2'])
  expect(longestTokenBytes(unigram(true))).toBe(' hello'.length)
})
