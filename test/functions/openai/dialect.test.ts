import { expect, test } from 'vitest'
import { chatDialect, completionDialect } from '../../../functions/openai/dialect.ts'

const part = (id: number, byte: number) => {
  const named = { token: `bytes:\\x${byte.toString(16)}`, bytes: [byte], id, logprob: -1 }
  const other = { token: 'bytes:\\xe2', bytes: [0xe2], id: 7, logprob: -2 }
  return { ...named, top: [named, other] }
}
const word = (token: string) => ({ token, id: 1, logprob: -1, top: [{ token, id: 1, logprob: -1 }] })
/** `Sì!` of four tokens, of which two are one character. */
const answer = {
  index: 0,
  text: 'Sì!',
  offset: 5,
  first: false,
  reason: null,
  logprobs: [word('S'), part(2, 0xc3), part(3, 0xac), word('!')],
  calls: [],
  callsBefore: 0,
}

test('chat completions give the bytes of a token that is a part of a character', () => {
  const { logprobs } = chatDialect.choice(answer)
  expect(logprobs?.content.map(({ bytes }) => bytes)).toEqual([[0x53], [0xc3], [0xac], [0x21]])
  expect(logprobs?.content[1]?.top_logprobs.map(({ bytes }) => bytes)).toEqual([[0xc3], [0xe2]])
})

test('text completions say the offsets that the backend says, which knows what it has held back', () => {
  const logprobs = [
    { ...word('Uhr'), offset: 20 },
    { ...word('.'), offset: 23 },
  ]
  expect(completionDialect.choice({ ...answer, offset: 18, logprobs }).logprobs?.text_offset).toEqual([20, 23])
})

test('text completions name the chosen token among the likeliest, as OpenAI’s do, where it is none of them', () => {
  const unlikely = { ...word('Uhr'), logprob: -9, top: [{ token: 'S', id: 3, logprob: -1 }] }
  const { logprobs } = completionDialect.choice({ ...answer, logprobs: [unlikely, { ...word('.'), top: [] }] })
  expect(logprobs?.top_logprobs).toEqual([{ S: -1, Uhr: -9 }, { '.': -1 }])
})

test('text completions count characters, and keep alternatives apart that are parts of characters', () => {
  const { logprobs } = completionDialect.choice(answer)
  expect(logprobs?.text_offset).toEqual([5, 6, 6, 7])
  expect(logprobs?.top_logprobs[1]).toEqual({ 'bytes:\\xc3': -1, 'bytes:\\xe2': -2 })
})
