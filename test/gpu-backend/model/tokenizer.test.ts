import { describe, expect, test } from 'vitest'
import { BackendError } from '../../../gpu-backend/errors.ts'
import { TextStream, Tokenizer } from '../../../gpu-backend/model/tokenizer.ts'
import fc from '../../support/properties.ts'
import { sentencePiece } from '../../support/sentencepiece.ts'
import { embeddedTokenizerFiles } from '../../support/tiny-model.ts'

const files = embeddedTokenizerFiles()
const tokenizer = new Tokenizer(files)

/** A byte-level decoder in which token n is byte n: every character of several bytes is split over as many tokens. */
const byteStream = () => new TextStream((ids) => new TextDecoder().decode(Uint8Array.from(ids)))

/** The pieces as they would be shown, the rest of the end included. */
function shown(stream: TextStream, ids: Iterable<number>): string[] {
  return [...Array.from(ids, (id) => stream.push(id)), stream.flush()]
}

describe('a stream of tokens', () => {
  test('never shows half a character, and shows every character as soon as it is whole', () => {
    const stream = byteStream()
    expect(shown(stream, new TextEncoder().encode('aä漢🙂b'))).toEqual([
      ...['a', '', 'ä', '', '', '漢', '', '', '', '🙂', 'b'],
      '',
    ])
  })

  test('joins to the text, in any script', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 40 }), (text) => {
        // A byte-order mark at the start is no text to a decoder.
        fc.pre(!text.includes('\ufeff'))
        expect(shown(byteStream(), new TextEncoder().encode(text)).join('')).toBe(text)
      }),
    )
  })

  test('shows what is left incomplete at the end', () => {
    expect(shown(byteStream(), [97, 0xf0, 0x9f]).join('')).toBe('a\ufffd')
    expect(byteStream().flush()).toBe('')
  })

  test('of bytes that are no text decodes a few tokens at a time, and loses no character after them', () => {
    let decoded = 0
    const stream = new TextStream((ids) => {
      decoded += ids.length
      return new TextDecoder().decode(Uint8Array.from(ids))
    })
    const count = 2000
    const text = shown(stream, [97, ...new Array<number>(count).fill(0x80), ...new TextEncoder().encode('🙂b')]).join(
      '',
    )
    expect(text).toBe(`a${'\ufffd'.repeat(count)}🙂b`)
    expect(decoded).toBeLessThan(50 * count)
  })

  test('joins to the text around bytes that are none, whatever comes where', () => {
    const piece = fc.oneof(fc.constantFrom('a', 'ä', '漢', '🙂'), fc.integer({ min: 0x80, max: 0xbf }))
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 120 }), (pieces) => {
        const bytes = pieces.flatMap((one) => (typeof one === 'number' ? [one] : [...new TextEncoder().encode(one)]))
        const whole = new TextDecoder().decode(Uint8Array.from(bytes))
        expect(shown(byteStream(), bytes).join('')).toBe(whole)
      }),
    )
  })

  test('of the real tokenizer joins to what it decodes at once, spaces and all', () => {
    const texts = fc.array(
      fc.oneof(fc.string({ unit: 'grapheme' }), fc.constantFrom(' ', '\n', ' the', 'Ünïcödé', '🙂')),
    )
    fc.assert(
      fc.property(texts, (parts) => {
        const text = parts.join('')
        const ids = tokenizer.encode(text)
        const pieces = shown(tokenizer.stream(), ids)
        expect(pieces.join('')).toBe(text)
        for (const piece of pieces) expect(piece.isWellFormed()).toBe(true)
      }),
      { numRuns: 60 },
    )
  })

  test('keeps spaces before full stops, commas and the like, whatever the files say of cleaning up', () => {
    const text = 'x = [a , b] ; ls . ? I do n\'t ! "yes ."'
    for (const config of [{}, { clean_up_tokenization_spaces: true }]) {
      const cleaning = new Tokenizer({ ...files, config })
      const ids = cleaning.encode(text)
      expect(shown(cleaning.stream(), ids).join('')).toBe(text)
      expect(Array.from(ids, (id) => cleaning.tokenText(id)).join('')).toBe(text)
    }
  })

  test('shows nothing of special tokens', () => {
    const ids = [...tokenizer.encode('one'), ...files.eosTokenIds, ...tokenizer.encode(' two')]
    expect(shown(tokenizer.stream(), ids).join('')).toBe('one two')
  })

  test('keeps the space of the word after a special token, where words begin with theirs', () => {
    const words = new Tokenizer({ ...files, tokenizer: sentencePiece(['<unk>', '<s>', '▁one', '▁two']), config: {} })
    expect(shown(words.stream(), [1, 2, 1, 3, 1])).toEqual(['', 'one', '', ' two', '', ''])
  })
})

describe('the tokenizer', () => {
  test("renders a conversation with the model's template, ready for the answer", () => {
    const messages = [{ role: 'user' as const, content: 'Hello' }]
    expect(tokenizer.renderChat(messages)).toBe('<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n')
    expect(tokenizer.encodeChat(messages)).toEqual(tokenizer.encode(tokenizer.renderChat(messages)))
  })

  test('knows the texts of special tokens, which are not shown', () => {
    expect(['<|im_end|>', 'a', '<tool_call>'].map((text) => tokenizer.isHidden(text))).toEqual([true, false, false])
  })

  test('refuses messages that the template refuses, and chat where there is no template', () => {
    const refused = (action: () => unknown) => {
      try {
        action()
      } catch (error) {
        expect(error).toBeInstanceOf(BackendError)
        return (error as BackendError).code
      }
      throw new Error('was accepted')
    }
    const messages = [{ role: 'user' as const, content: 'Hi' }]
    const strict = new Tokenizer({ ...files, chatTemplate: "{{ raise_exception('system first') }}" })
    expect(refused(() => strict.renderChat(messages))).toBe('bad_request')
    const bare = new Tokenizer({ ...files, chatTemplate: undefined })
    expect(refused(() => bare.renderChat(messages))).toBe('bad_request')
  })

  test('says in a sentence that a tokenizer or a template cannot be read', () => {
    expect(() => new Tokenizer({ ...files, tokenizer: {} })).toThrow(/^The model's tokenizer\.json/)
    expect(() => new Tokenizer({ ...files, chatTemplate: '{% for %}' })).toThrow(/^The model's tokenizer\.json/)
  })
})
