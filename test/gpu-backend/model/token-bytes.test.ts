import { describe, expect, test } from 'vitest'
import { tokenBytes } from '../../../gpu-backend/model/token-bytes.ts'
import { Tokenizer } from '../../../gpu-backend/model/tokenizer.ts'
import { embeddedTokenizerFiles } from '../../support/tiny-model.ts'

describe('the bytes of tokens', () => {
  test('of byte-level BPE joined are the text that was encoded, in any script', () => {
    const files = embeddedTokenizerFiles()
    const bytes = tokenBytes(files.tokenizer)!
    const tokenizer = new Tokenizer(files)
    for (const text of ['Hello, world!\n', ' naïve café — 12.5 €', '日本語 and emoji 🙂', '{"a": [1, null]}\t']) {
      expect(Buffer.concat(Array.from(tokenizer.encode(text), (id) => bytes[id]!)).toString()).toBe(text)
    }
  })

  test('of special tokens are none', () => {
    const files = embeddedTokenizerFiles()
    const bytes = tokenBytes(files.tokenizer)!
    for (const id of files.eosTokenIds) expect(bytes[id]).toBeUndefined()
  })

  test('of sentencepiece are spaces for its low line, and the byte that a byte token names', () => {
    const tokenizer = {
      added_tokens: [{ id: 0, content: '<s>', special: true }],
      decoder: { type: 'Sequence', decoders: [{ type: 'ByteFallback' }, { type: 'Fuse' }] },
      pre_tokenizer: null,
      model: { type: 'BPE', vocab: { '<s>': 0, '<0xE2>': 1, '\u2581the': 2, é: 3 } },
    }
    const text = tokenBytes(tokenizer)!.map((bytes) => bytes && [...bytes])
    expect(text).toEqual([undefined, [0xe2], [...Buffer.from(' the')], [...Buffer.from('é')]])
  })

  test('are not known of another kind of tokenizer', () => {
    expect(
      tokenBytes({ decoder: { type: 'WordPiece' }, pre_tokenizer: null, model: { vocab: { a: 0 } } }),
    ).toBeUndefined()
    expect(tokenBytes({})).toBeUndefined()
  })
})
