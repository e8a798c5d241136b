import { afterAll, describe, expect, test } from 'vitest'
import { BackendError } from '../../../gpu-backend/errors.ts'
import { PromptEncoder } from '../../../gpu-backend/model/prompt-encoder.ts'
import { longestTokenBytes } from '../../../gpu-backend/model/token-bytes.ts'
import { Tokenizer } from '../../../gpu-backend/model/tokenizer.ts'
import { expectOneSentence } from '../../support/one-sentence.ts'
import fc from '../../support/properties.ts'
import { embeddedTokenizerFiles } from '../../support/tiny-model.ts'

const files = embeddedTokenizerFiles()
const tokenizer = new Tokenizer(files)
const CONTEXT = 512
/** Everything goes through the thread. */
const threaded = new PromptEncoder(tokenizer, CONTEXT, 0)
const inline = new PromptEncoder(tokenizer, CONTEXT)

afterAll(() => Promise.all([threaded.close(), inline.close()]))

async function refusal(action: Promise<unknown>): Promise<BackendError> {
  const error = await action.catch((reason: unknown) => reason)
  if (!(error instanceof BackendError)) throw error
  expectOneSentence(error.message)
  return error
}

describe('texts to tokens', () => {
  test('are the same from the thread as from the tokenizer itself, of either kind', async () => {
    const texts = ['', 'Hello', '<|im_start|>user\nGrüße 🙂 漢字<|im_end|>\n', 'a\u0000b \ud83d', 'word '.repeat(400)]
    for (const kind of ['plain', 'rendered'] as const) {
      const wanted = texts.map((text) => tokenizer.encodeAs(text, kind))
      expect(await threaded.encode(texts, kind)).toEqual(wanted)
      expect(await inline.encode(texts, kind)).toEqual(wanted)
    }
  })

  test('let the calling thread go on while long ones are made', async () => {
    let turned = false
    setImmediate(() => {
      turned = true
    })
    await inline.encode(['word '.repeat(1500)], 'plain')
    expect(turned).toBe(true)
  })

  test('are refused by the thread as by the tokenizer', async () => {
    const small = new Tokenizer(files, 4)
    const encoders = [0, 4096].map((chars) => new PromptEncoder(small, CONTEXT, chars))
    const [fromThread, here] = await Promise.all(encoders.map((one) => refusal(one.encode(['hello'], 'plain'))))
    expect(fromThread).toMatchObject({ code: 'bad_request', message: here!.message })
    for (const one of encoders) await one.close()
  })

  test('that cannot fit the context are refused unseen, and none that could', async () => {
    const longest = longestTokenBytes(files.tokenizer)!
    expect((await refusal(inline.encode(['x'.repeat(CONTEXT * longest + 1)], 'plain'))).code).toBe(
      'context_length_exceeded',
    )
    const special = fc.constantFrom('<|im_start|>', ' ', '  ', 'the', '🙂', '\n\n\n')
    const text = fc.array(fc.oneof(special, fc.string({ unit: 'binary' })), { maxLength: 40 })
    fc.assert(
      fc.property(text, (parts) => {
        const bytes = Buffer.byteLength(parts.join(''))
        expect(tokenizer.encode(parts.join('')).length * longest).toBeGreaterThanOrEqual(bytes)
      }),
    )
  })

  test('that are being made when it closes are refused, and a later one is made again', async () => {
    // A new encoder, whose thread cannot have answered before it has started.
    const closing = new PromptEncoder(tokenizer, CONTEXT, 0)
    const pending = refusal(closing.encode(['word '.repeat(1000)], 'plain'))
    await closing.close()
    expect((await pending).code).toBe('unavailable')
    expect(await closing.encode(['Hello'], 'plain')).toEqual([tokenizer.encode('Hello')])
    await closing.close()
  })
})
