import { afterEach, expect, test, vi } from 'vitest'
import { EdgeError } from '../../../functions/console/api/edge.ts'
import { type AnswerEvent, streamAnswer } from '../../../functions/console/api/stream-answer.ts'
import { type Run, runRequest } from '../../../functions/console/playground/run.ts'
import { expectOneSentence } from '../../support/one-sentence.ts'

const REQUEST = { path: '/v1/chat/completions', body: { model: 'a/b' } } as const

afterEach(() => vi.unstubAllGlobals())

/** The edge answers with these events, and then the stream ends or, with `failure`, errs. */
function answerWith(events: readonly object[], failure?: Error): void {
  const waiting = events.map((event) => new TextEncoder().encode(`data: ${JSON.stringify(event)}\n\n`))
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const next = waiting.shift()
      if (next) controller.enqueue(next)
      else if (failure) controller.error(failure)
      else controller.close()
    },
  })
  vi.stubGlobal('fetch', async () => new Response(body))
}

const piece = (index: number, content: string, reason: string | null = null) => ({
  choices: [{ index, delta: { content }, finish_reason: reason }],
})
const LAST = {
  choices: [],
  usage: { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3, prompt_tokens_details: { cached_tokens: 0 } },
  polylora: {
    adapter: null,
    base: '',
    tier: null,
    cold: false,
    batch: { rows: 1, deltas: 0 },
    queue_ms: 0,
    ttft_ms: 1,
    tokens_per_second: null,
    price_nano: 0,
  },
}

async function run(): Promise<Run> {
  const states: Run[] = []
  await runRequest('key', REQUEST, new AbortController().signal, (state) => states.push(state))
  return states.at(-1)!
}

test('choices that come mixed are texts of their own, and one that is cut says so for all', async () => {
  answerWith([piece(0, 'A'), piece(1, 'B'), piece(1, 'b'), piece(0, 'a', 'length'), piece(1, '', 'stop'), LAST])
  expect(await run()).toMatchObject({ texts: ['Aa', 'Bb'], status: 'done', result: { reason: 'length' } })
})

test('calls of tools are lines of their own, after what is said before them', async () => {
  const call = (index: number, name: string, given: string) => ({
    index,
    id: `call_${index}`,
    type: 'function',
    function: { name, arguments: given },
  })
  const calls = (choice: number, ...tool_calls: object[]) => ({
    choices: [{ index: choice, delta: { tool_calls }, finish_reason: null }],
  })
  const [weather, time] = [call(0, 'weather', '{"city":"Rome"}'), call(1, 'time', '{}')]
  answerWith([calls(0, weather, time), piece(1, 'Let me look.'), calls(1, call(0, 'time', '{}')), LAST])
  const texts = ['weather({"city":"Rome"})\ntime({})', 'Let me look.\ntime({})']
  expect(await run()).toMatchObject({ texts, status: 'done' })
})

test.each([
  ['ends early', undefined],
  ['breaks', new TypeError('network error')],
])('a stream that %s is told in a sentence', async (_, failure) => {
  answerWith([piece(0, 'A')], failure)
  const events: AnswerEvent[] = []
  const listen = async () => {
    for await (const event of streamAnswer('key', REQUEST, new AbortController().signal)) events.push(event)
  }
  await expect(listen()).rejects.toThrow(EdgeError)
  expect(events).toEqual([{ kind: 'text', choice: 0, text: 'A' }])
  answerWith([piece(0, 'A')], failure)
  const { status, error } = await run()
  expect(status).toBe('failed')
  expectOneSentence(error ?? '')
})
