import { expect, test } from 'vitest'
import { answerEvents, type SequenceMessage } from '../../../gpu-backend/engine/answer-events.ts'
import { ChoiceStream } from '../../../gpu-backend/engine/choice-stream.ts'
import { Tokenizer } from '../../../gpu-backend/model/tokenizer.ts'
import { SamplingParams } from '../../../gpu-backend/protocol.ts'
import { embeddedTokenizerFiles } from '../../support/tiny-model.ts'

const files = embeddedTokenizerFiles()
const tokenizer = new Tokenizer(files)
const SEQUENCE = 5

/** The text and the reason of an answer whose tokens had all been made before anybody could stop them. */
async function answer(text: string, stop: readonly string[]) {
  const sampling = SamplingParams.parse({ stop })
  const choice = new ChoiceStream(0, tokenizer, sampling, files.eosTokenIds)
  const messages: SequenceMessage[] = [
    { type: 'started', tier: null },
    ...Array.from(tokenizer.encode(text), (token) => ({
      type: 'token' as const,
      token: { token, logprob: -1, top: [] },
    })),
    { type: 'ended', end: { reason: 'length', cachedTokens: 0, batchRows: 1, batchDeltas: 0 } },
  ]
  const stopped: number[] = []
  const source = async function* () {
    for (const message of messages) yield [SEQUENCE, message] as const
  }
  const events = []
  for await (const event of answerEvents(source(), new Map([[SEQUENCE, choice]]), [1], (id) => stopped.push(id))) {
    events.push(event)
  }
  const shown = events.map((event) => (event.event === 'text' ? event.text : '')).join('')
  return { shown, stopped, reason: events.find((event) => event.event === 'finished')?.reason }
}

test('an answer whose text reached a stop string ended there, even if its tokens were at their limit before it was heard', async () => {
  expect(await answer('We open at nine and close at five.', [' and'])).toEqual({
    shown: 'We open at nine',
    stopped: [SEQUENCE],
    reason: 'stop',
  })
})

test('an answer whose text ends with the beginning of a stop string shows it, and ended for its own reason', async () => {
  expect(await answer('We open at nine an', [' and'])).toEqual({
    shown: 'We open at nine an',
    stopped: [],
    reason: 'length',
  })
})

/** The usage that is told of two prompts with two choices each; a choice of which `cached` has nothing never began. */
async function usageOf(cached: readonly (number | undefined)[]) {
  const sampling = SamplingParams.parse({})
  const choices = cached.map((_, i) => [i, new ChoiceStream(i, tokenizer, sampling, files.eosTokenIds)] as const)
  const source = async function* () {
    for (const [i, cachedTokens] of cached.entries()) {
      if (cachedTokens !== undefined) yield [i, { type: 'started', tier: null }] as const
      const end = { reason: 'length', cachedTokens: cachedTokens ?? 0, batchRows: 1, batchDeltas: 0 } as const
      yield [i, { type: 'ended', end }] as const
    }
  }
  const events = await Array.fromAsync(answerEvents(source(), new Map(choices), [7, 9], () => {}))
  const last = events.at(-1)
  return last?.event === 'done' ? last.usage : undefined
}

test('the cached tokens of several prompts are added up, of one prompt those that no choice had to compute', async () => {
  expect(await usageOf([3, 5, 0, 8])).toEqual({ prompt_tokens: 16, cached_tokens: 3, completion_tokens: 0 })
  expect(await usageOf([3, 5, 8, 6])).toMatchObject({ cached_tokens: 9 })
})

test('a choice that never began says nothing of what was cached', async () => {
  expect(await usageOf([3, undefined, 8, 8])).toMatchObject({ cached_tokens: 11 })
  expect(await usageOf([undefined, undefined, 8, 8])).toMatchObject({ cached_tokens: 8 })
})
