// What happens to a request on the backends before its first event has come.
import { createServer, type Server, type ServerResponse } from 'node:http'
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { ApiError } from '../../functions/errors.ts'
import { Backends } from '../../functions/router/backends.ts'
import { importCapabilityKey } from '../../gpu-backend/capability.ts'
import { ERROR_STATUS } from '../../gpu-backend/protocol.ts'
import { closeServer, listenOnLoopback } from '../support/loopback.ts'
import { BACKEND_SECRET, BASE_INFO } from '../support/protocol-backend.ts'

type Forward = (context: object, request: object, warming: undefined) => Promise<unknown>

// By its address: it is written against the types of Workers, and the tests against those of Node.
const FORWARD = new URL('../../functions/router/forward.ts', import.meta.url).href
const { forwardGenerate, forwardEmbed } = (await import(FORWARD)) as Record<'forwardGenerate' | 'forwardEmbed', Forward>

const servers: Server[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) await closeServer(server)
})

/** A backend that answers as `answer` says, and what is no work as `look` says; its address. */
async function listen(
  answer: (response: ServerResponse) => void,
  look: (response: ServerResponse, path: string | undefined) => void = (response) => response.writeHead(200).end(),
): Promise<string> {
  const server = createServer((request, response) => {
    request.resume()
    if (request.method === 'POST') answer(response)
    else look(response, request.url)
  })
  servers.push(server)
  return listenOnLoopback(server)
}

const PATIENCE_MS = 60_000
/** In so many turns patience is over; an answer needs a few. */
const TURNS = 200

/** A request's way to the backends; deltas are not its concern. */
async function contextOf(urls: string[], signal: AbortSignal) {
  return {
    backends: new Backends(urls),
    capabilityKey: await importCapabilityKey(BACKEND_SECRET),
    tenant: 'acme',
    requestId: 'req_1',
    base: BASE_INFO.base.fingerprint,
    promptField: 'prompt',
    patienceMs: PATIENCE_MS,
    signal,
    waitUntil: (promise: Promise<unknown>) => void promise.catch(() => undefined),
    nowMs: Date.now,
  }
}

const REQUEST = { delta: null, prompt: 'hi', sampling: {} }

describe('a client that leaves before anything has been generated', () => {
  test.each([
    { what: 'a generation', forward: forwardGenerate, request: REQUEST },
    { what: 'an embedding', forward: forwardEmbed, request: { delta: null, input: ['hi'] } },
  ])('has its request for $what refused in words, and no other backend is asked', async ({ forward, request }) => {
    const leaving = new AbortController()
    let asked = 0
    const leave = () => {
      asked++
      leaving.abort()
    }
    const context = await contextOf([await listen(leave), await listen(leave)], leaving.signal)
    const refusal = await forward(context, request, undefined).catch((error: unknown) => error)
    expect(refusal).toBeInstanceOf(ApiError)
    expect(refusal).toMatchObject({ status: 503, code: 'backend_unavailable' })
    expect(asked).toBe(1)
  })
})

test.each([
  { code: 'wrong_base', askedAnew: true },
  { code: 'unauthorized', askedAnew: false },
] as const)('what a backend serves is asked anew after its refusal $code: $askedAnew', async ({ code, askedAnew }) => {
  let looks = 0
  const url = await listen(
    (response) => response.writeHead(ERROR_STATUS[code]).end(JSON.stringify({ error: code, message: 'No.' })),
    (response, path) => {
      if (path === '/v1/base') looks++
      response.end(JSON.stringify(BASE_INFO))
    },
  )
  const context = await contextOf([url], new AbortController().signal)
  await context.backends.info(Date.now())
  await expect(forwardGenerate(context, REQUEST, undefined)).rejects.toBeInstanceOf(ApiError)
  await context.backends.info(Date.now())
  expect(looks).toBe(askedAnew ? 2 : 1)
})

test.each([
  { what: 'with something else than it should', event: { event: 'text', index: 0, text: 'x', tokens: 1 } },
  { what: 'with a refusal', event: { event: 'error', error: 'bad_request', message: 'No.' } },
])('a backend that begins $what is not left generating', async ({ event }) => {
  const left = Promise.withResolvers<void>()
  const url = await listen((response) => {
    response.on('close', left.resolve)
    // Never ended: only the reader can end it.
    response.writeHead(200).write(`${JSON.stringify(event)}\n`)
  })
  const context = await contextOf([url], new AbortController().signal)
  await expect(forwardGenerate(context, REQUEST, undefined)).rejects.toBeInstanceOf(ApiError)
  await left.promise
})

describe('a backend is passed over for another', () => {
  const STARTED = { event: 'started', base: 'b', delta: null, tier: null, prompt_tokens: 1 }
  const VECTORS = { embeddings: [[1, 2]], prompt_tokens: 1 }
  const write =
    (text: string, status = 200) =>
    (response: ServerResponse) =>
      void response.writeHead(status).write(text)
  const embedding = { forward: forwardEmbed, request: { delta: null, input: ['hi'] }, answer: VECTORS }
  const generation = { forward: forwardGenerate, request: REQUEST, answer: STARTED }

  test.each([
    { what: 'does not begin its answer', ...generation, fail: () => {}, isWell: true },
    { what: 'has not embedded its texts', ...embedding, fail: () => {}, isWell: true },
    { what: 'falls silent before its first event', ...generation, fail: write('{"event":'), isWell: false },
    { what: 'falls silent in the middle of vectors', ...embedding, fail: write('{"embeddings":[[1,2'), isWell: false },
    { what: 'falls silent in the middle of a refusal', ...generation, fail: write('{"error":', 503), isWell: false },
  ])(
    'that $what, once patience is over; it is taken for well: $isWell',
    async ({ forward, request, answer, fail, isWell }) => {
      // Time passes with the turns of this process's event loop, in which both backends live, not with the machine's clock.
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
      const turns = setInterval(() => vi.advanceTimersByTime(PATIENCE_MS / TURNS), 1)
      onTestFinished(() => {
        clearInterval(turns)
        vi.useRealTimers()
      })
      let asked = 0
      const each = (response: ServerResponse) => {
        if (asked++ > 0) response.end(`${JSON.stringify(answer)}\n`)
        else fail(response)
      }
      const context = await contextOf([await listen(each), await listen(each)], new AbortController().signal)
      const order = () => context.backends.order(context.requestId)
      const before = order()
      await forward(context, request, undefined)
      expect(asked).toBe(2)
      expect(order()).toEqual(isWell ? before : before.toReversed())
    },
  )

  // As Cloudflare answers for a backend, or a Tunnel, that is down, where a connection would be refused elsewhere.
  test.each([
    { status: 502, ...generation },
    { status: 521, ...embedding },
    { status: 530, ...generation },
    // Or for one that it takes no body for as large as this.
    { status: 413, ...generation },
  ])('in whose place the network answers $status', async ({ status, forward, request, answer }) => {
    let asked = 0
    const each = (response: ServerResponse) => {
      if (asked++ > 0) response.end(`${JSON.stringify(answer)}\n`)
      else response.writeHead(status, { 'content-type': 'text/html' }).end('<html>error code: 1033</html>')
    }
    const context = await contextOf([await listen(each), await listen(each)], new AbortController().signal)
    await forward(context, request, undefined)
    expect(asked).toBe(2)
  })

  test('that breaks off in the middle of vectors', async () => {
    let asked = 0
    const each = (response: ServerResponse) => {
      if (asked++ > 0) return void response.end(JSON.stringify(VECTORS))
      response.writeHead(200).write('{"embeddings":[[1,2', () => response.destroy())
    }
    const context = await contextOf([await listen(each), await listen(each)], new AbortController().signal)
    await expect(forwardEmbed(context, embedding.request, undefined)).resolves.toMatchObject({
      vectors: ['AACAPwAAAEA='],
      promptTokens: 1,
    })
    expect(asked).toBe(2)
  })
})
