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
      expect(await threaded.encode(texts, kind, 'acme')).toEqual(wanted)
      expect(await inline.encode(texts, kind, 'acme')).toEqual(wanted)
    }
  })

  test('let the calling thread go on while long ones are made', async () => {
    let turned = false
    setImmediate(() => {
      turned = true
    })
    await refusal(inline.encode(['word '.repeat(1500)], 'plain', 'acme'))
    expect(turned).toBe(true)
  })

  test('are refused by the thread as by the tokenizer', async () => {
    const small = new Tokenizer(files, 4)
    const encoders = [0, 4096].map((chars) => new PromptEncoder(small, CONTEXT, chars))
    const [fromThread, here] = await Promise.all(encoders.map((one) => refusal(one.encode(['hello'], 'plain', 'acme'))))
    expect(fromThread).toMatchObject({ code: 'bad_request', message: here!.message })
    for (const one of encoders) await one.close()
  })

  test('that cannot fit the context are refused unseen, and none that could', async () => {
    const longest = longestTokenBytes(files.tokenizer)!
    expect((await refusal(inline.encode(['x'.repeat(CONTEXT * longest + 1)], 'plain', 'acme'))).code).toBe(
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

  test('of a tenant that sends very many hold up nobody else, and none is made after one that is too long', async () => {
    const order: string[] = []
    const made = (tenant: string, text: string, count: number) =>
      threaded.encode(new Array(count).fill(text), 'plain', tenant).then(
        () => order.push(tenant),
        ({ code }: BackendError) => order.push(`${tenant}: ${code}`),
      )
    const greedy = Array.from({ length: 10 }, () => made('greedy', 'word '.repeat(400), 2))
    await Promise.all([...greedy, made('modest', 'word '.repeat(400), 2)])
    expect(order.slice(0, 3)).toContain('modest')
    // All of them would take minutes.
    await made('greedy', 'x'.repeat(4 * CONTEXT), 100_000)
    expect(order.at(-1)).toBe('greedy: context_length_exceeded')
  })

  test('that are being made when it closes are refused, and a later one is made again', async () => {
    // A new encoder, whose thread cannot have answered before it has started.
    const closing = new PromptEncoder(tokenizer, CONTEXT, 0)
    const pending = refusal(closing.encode(['word '.repeat(1000)], 'plain', 'acme'))
    await closing.close()
    expect((await pending).code).toBe('unavailable')
    expect(await closing.encode(['Hello'], 'plain', 'acme')).toEqual([tokenizer.encode('Hello')])
    await closing.close()
  })
})
