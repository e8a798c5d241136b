// A sequence through a server whose connections break, with HTTP as vLLM speaks it; the rest is tried on vLLM itself.
import { createServer, type ServerResponse } from 'node:http'
import { afterAll, afterEach, beforeAll, beforeEach, expect, onTestFinished, test, vi } from 'vitest'
import { Dispatcher } from '../../../../gpu-backend/engine/vllm/dispatcher.ts'
import { Replica } from '../../../../gpu-backend/engine/vllm/replica.ts'
import { type SequenceOptions, SequenceRun } from '../../../../gpu-backend/engine/vllm/sequence-run.ts'
import { VllmClient } from '../../../../gpu-backend/engine/vllm/vllm-client.ts'
import { SamplingParams } from '../../../../gpu-backend/protocol.ts'
import { closeServer, listenOnLoopback } from '../../../support/loopback.ts'
import { expectOneSentence } from '../../../support/one-sentence.ts'

const CHUNK = {
  choices: [{ token_ids: [7], logprobs: { token_logprobs: [-1], top_logprobs: [{}] }, finish_reason: 'length' }],
}
const answer = (response: ServerResponse) => {
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  response.end(`data: ${JSON.stringify(CHUNK)}\n\ndata: [DONE]\n\n`)
}
const LOST = 'vllm_answer_lost'
/** What becomes of the next completions, in order; then they are answered. */
let completions: ((response: ServerResponse) => void)[] = []
let isWell = true
let asked = 0
/** What failures said. */
let said: string[] = []
const http = createServer((request, response) => {
  if (request.url === '/v1/completions') {
    asked++
    return (completions.shift() ?? answer)(response)
  }
  if (!isWell) return void response.destroy()
  response.end('{"data": []}')
})
let url: string
let replica: Replica
let dispatcher: Dispatcher
let watched: Promise<void>

beforeAll(async () => {
  url = await listenOnLoopback(http)
})
afterAll(() => closeServer(http))
beforeEach(async () => {
  ;[completions, isWell, asked, said] = [[], true, 0, []]
  replica = new Replica({
    name: 'tested',
    client: new VllmClient({ url }, undefined),
    adapterCapacity: 1,
    check: async () => 'base',
    findAdapter: () => undefined,
    onChange: () => dispatcher.serversChanged(),
    onHung: () => {},
  })
  dispatcher = new Dispatcher([replica], { rows: 1, slots: 1 })
  watched = replica.watch()
  await vi.waitFor(() => expect(replica.isReady).toBe(true), { timeout: 60_000 })
})
afterEach(async () => {
  replica.close()
  await watched
})

/** How the sequences end that are all asked for at once, on a server with one row. */
function endsOf(count: number): Promise<string[]> {
  const run = (id: number) => {
    const { promise, resolve } = Promise.withResolvers<string>()
    const options: SequenceOptions = {
      id,
      requestId: `request-${id}`,
      tenant: `tenant-${id}`,
      adapter: undefined,
      promptTokens: Int32Array.of(1),
      sampling: SamplingParams.parse({}),
      seed: undefined,
      endTokenIds: [],
      maxTokens: 1,
      deadlineMs: undefined,
      onMessage: (message) => message.type === 'ended' && resolve(message.end.reason),
      onFailure: ({ code, message }) => {
        said.push(message)
        resolve(code)
      },
      onUnreadable: () => {},
      onSettled: () => {},
    }
    dispatcher.add(new SequenceRun(options, dispatcher))
    return promise
  }
  return Promise.all(Array.from({ length: count }, (_, id) => run(id + 1)))
}

test('a connection that breaks on a server that is well costs nobody anything but time', async () => {
  completions = [(response) => response.destroy()]
  expect(await endsOf(4)).toEqual(['length', 'length', 'length', 'length'])
  expect(asked).toBe(5)
  expect(replica.isReady).toBe(true)
})

test('a sequence whose connections break again and again fails, and the others go on', async () => {
  completions = Array.from({ length: 4 }, () => (response: ServerResponse) => response.destroy())
  const ends = await endsOf(1)
  expect(ends).toEqual(['unavailable'])
  expect(await endsOf(2)).toEqual(['length', 'length'])
})

/** An error as vLLM answers with: its own sentences, several of them. */
const failure = (status: number, message: string) => (response: ServerResponse) => {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(JSON.stringify({ error: { message, type: 'BadRequestError', code: status } }))
}

test("a refusal of vLLM's is one sentence, whatever its own words are", async () => {
  completions = [
    failure(400, 'The schema is too deep. At most 64 levels (parameter=response_format).'),
    failure(400, 'Validation failed:\n  max_tokens\n    must be at least 1.\n'),
  ]
  expect(await endsOf(2)).toEqual(['bad_request', 'bad_request'])
  expect(said).toEqual([
    'vLLM refuses the request: The schema is too deep; At most 64 levels (parameter=response_format).',
    'vLLM refuses the request: Validation failed; max_tokens; must be at least 1.',
  ])
})

test('an answer that is lost says in one sentence what to do, and nothing of the reason, which the log has', async () => {
  completions = [
    (response) => {
      isWell = false
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.write(`data: ${JSON.stringify({ choices: [{ ...CHUNK.choices[0], finish_reason: null }] })}\n\n`)
      response.end('data: {"error": {"message": "EngineCore died. See stack trace (above).", "code": 500}}\n\n')
    },
  ]
  const logged = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  onTestFinished(() => logged.mockRestore())
  expect(await endsOf(1)).toEqual(['unavailable'])
  for (const message of said) expectOneSentence(message)
  expect(said.join()).not.toContain('stack trace')
  const lost = logged.mock.calls.map(([line]) => JSON.parse(String(line))).filter(({ event }) => event === LOST)
  expect(lost).toMatchObject([{ request_id: 'request-1', reason: expect.stringContaining('stack trace') }])
})

test('a connection that breaks with its server fails what waits for it at once', async () => {
  completions = [
    (response) => {
      isWell = false
      response.destroy()
    },
  ]
  expect(await endsOf(3)).toEqual(['unavailable', 'unavailable', 'unavailable'])
  expect(asked).toBe(1)
})
