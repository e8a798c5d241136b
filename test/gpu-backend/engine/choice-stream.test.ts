import { describe, expect, test } from 'vitest'
import { ChoiceStream } from '../../../gpu-backend/engine/choice-stream.ts'
import { Tokenizer } from '../../../gpu-backend/model/tokenizer.ts'
import { SamplingParams } from '../../../gpu-backend/protocol.ts'
import { embeddedTokenizerFiles } from '../../support/tiny-model.ts'

const files = embeddedTokenizerFiles()
const tokenizer = new Tokenizer(files)
const [END] = files.eosTokenIds

/** What a choice of these tokens shows: the events of the tokens that are pushed until it has stopped, and of its end. */
function events(ids: Iterable<number>, options: Partial<SamplingParams> = {}) {
  const choice = new ChoiceStream(3, tokenizer, SamplingParams.parse(options), files.eosTokenIds)
  const made = []
  for (const token of ids) {
    if (choice.isStopped) break
    made.push(choice.push({ token, logprob: -1, top: [{ token, logprob: -1 }] }))
  }
  made.push(choice.end())
  return made.filter((event) => event !== undefined)
}

const textOf = (made: ReturnType<typeof events>) => made.map(({ text }) => text).join('')
const tokensOf = (made: ReturnType<typeof events>) => made.reduce((sum, { tokens }) => sum + tokens, 0)

describe('a choice', () => {
  const ids = Array.from(tokenizer.encode('Wir öffnen um 9 Uhr 🙂 und schließen um 17 Uhr.'))

  test('shows its whole text under its index and counts every token once', () => {
    const made = events([...ids, END!])
    expect(textOf(made)).toBe('Wir öffnen um 9 Uhr 🙂 und schließen um 17 Uhr.')
    expect(tokensOf(made)).toBe(ids.length + 1)
    expect(new Set(made.map(({ index }) => index))).toEqual(new Set([3]))
    for (const { text } of made) expect(text.isWellFormed()).toBe(true)
  })

  test('names tokens that are but a part of a character by their bytes, which joined are the text', () => {
    const named = events([...ids, END!], { logprobs: 1 }).flatMap(({ logprobs }) => logprobs ?? [])
    const bytes = named.map(({ token, bytes }) => bytes ?? [...Buffer.from(token)])
    expect(Buffer.from(bytes.flat()).toString()).toBe('Wir öffnen um 9 Uhr 🙂 und schließen um 17 Uhr.')
    const parts = named.filter((entry) => entry.bytes)
    expect(parts.length).toBeGreaterThan(1)
    for (const { token, bytes, top } of parts) {
      expect(token).toBe(`bytes:${bytes!.map((byte) => `\\x${byte.toString(16)}`).join('')}`)
      expect(top).toMatchObject([{ token, bytes }])
    }
  })

  test('says where each token begins in the text that is shown, in characters, whatever waits for a stop string', () => {
    const special = tokenizer.encodeRendered('<|im_start|>')
    expect(special).toHaveLength(1)
    for (const options of [{}, { stop: ['Uhr 🙂 oder', 'Wir ö.'] }]) {
      const made = events([ids[0]!, ...special, ...ids.slice(1)], { logprobs: 1, ...options })
      const text = textOf(made)
      let bytes = Buffer.of()
      for (const { token, bytes: part, id, offset } of made.flatMap(({ logprobs }) => logprobs ?? [])) {
        // A character that is not complete begins where the next token still begins.
        const before = new TextDecoder().decode(bytes, { stream: true })
        expect([token, offset]).toEqual([token, Array.from(before).length])
        if (id !== special[0]) bytes = Buffer.concat([bytes, part ? Buffer.from(part) : Buffer.from(token)])
      }
      expect(bytes.toString()).toBe(text)
    }
  })

  test('names log probabilities of every token of its text and not of the one that ended it', () => {
    const named = events([...ids, END!], { logprobs: 1 }).flatMap(({ logprobs }) => logprobs ?? [])
    expect(named.map(({ id }) => id)).toEqual(ids)
    const first = { token: 'W', id: ids[0], logprob: -1 }
    expect(named[0]).toEqual({ ...first, top: [first], offset: 0 })
    expect(events(ids).every(({ logprobs }) => logprobs === undefined)).toBe(true)
  })

  test('goes no further than a stop string, even inside a character of several tokens', () => {
    expect(textOf(events(ids, { stop: ['🙂 und'] }))).toBe('Wir öffnen um 9 Uhr ')
    expect(textOf(events(ids, { stop: ['Uhr.'] }))).toBe('Wir öffnen um 9 Uhr 🙂 und schließen um 17 ')
    expect(textOf(events(ids, { stop: ['W'] }))).toBe('')
  })

  test('shows at its end what could have become a stop string and did not', () => {
    expect(textOf(events(ids, { stop: ['Uhr. Morgen'] }))).toBe('Wir öffnen um 9 Uhr 🙂 und schließen um 17 Uhr.')
  })

  test('without a single token shows nothing', () => {
    expect(events([])).toEqual([])
    expect(events([END!])).toMatchObject([{ text: '', tokens: 1 }])
  })
})
