// A sequence through a server whose connections break, with HTTP as vLLM speaks it; the rest is tried on vLLM itself.
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { Dispatcher } from '../../../../gpu-backend/engine/vllm/dispatcher.ts'
import { Replica } from '../../../../gpu-backend/engine/vllm/replica.ts'
import { type SequenceOptions, SequenceRun } from '../../../../gpu-backend/engine/vllm/sequence-run.ts'
import { VllmClient } from '../../../../gpu-backend/engine/vllm/vllm-client.ts'
import { SamplingParams } from '../../../../gpu-backend/protocol.ts'

const CHUNK = {
  choices: [{ token_ids: [7], logprobs: { token_logprobs: [-1], top_logprobs: [{}] }, finish_reason: 'length' }],
}
const answer = (response: ServerResponse) => {
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  response.end(`data: ${JSON.stringify(CHUNK)}\n\ndata: [DONE]\n\n`)
}
/** What becomes of the next completions, in order; then they are answered. */
let completions: ((response: ServerResponse) => void)[] = []
let isWell = true
let asked = 0
const http = createServer((request, response) => {
  if (request.url === '/v1/completions') {
    asked++
    return (completions.shift() ?? answer)(response)
  }
  if (!isWell) return void response.destroy()
  response.end('{"data": []}')
})
let replica: Replica
let dispatcher: Dispatcher
let watched: Promise<void>

beforeAll(() => new Promise<void>((resolve) => void http.listen(0, '127.0.0.1', resolve)))
afterAll(() => http.close())
beforeEach(async () => {
  ;[completions, isWell, asked] = [[], true, 0]
  replica = new Replica({
    name: 'tested',
    client: new VllmClient({ url: `http://127.0.0.1:${(http.address() as AddressInfo).port}` }, undefined),
    adapterCapacity: 1,
    check: async () => 'base',
    findAdapter: () => undefined,
    onChange: () => dispatcher.serversChanged(),
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
      tenant: `tenant-${id}`,
      adapter: undefined,
      promptTokens: Int32Array.of(1),
      sampling: SamplingParams.parse({}),
      seed: undefined,
      endTokenIds: [],
      maxTokens: 1,
      deadlineMs: undefined,
      onMessage: (message) => message.type === 'ended' && resolve(message.end.reason),
      onFailure: ({ code }) => resolve(code),
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
