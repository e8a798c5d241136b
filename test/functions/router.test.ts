import { request as httpRequest } from 'node:http'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { makeDelta, startEdge, waitFor } from '../support/edge-harness.ts'
import { edgeOnBackends } from '../support/edge-on-backends.ts'
import { BACKEND_SECRET, ProtocolBackend } from '../support/protocol-backend.ts'

const FLEET = 5

const { backends, edge } = await edgeOnBackends(FLEET)
await edge.addTenant('acme', 'key-acme')

/** All well again, as far as the edge knows, too. */
beforeEach(async () => {
  for (const backend of backends) backend.reset()
  await waitFor(async () => {
    const seen = new Set<string>()
    for (let i = 0; i < 40; i++) seen.add(await backendOf(await ask()))
    return seen.size === FLEET
  })
})

const body = (extra: object) =>
  JSON.stringify({ model: 'tiny-base', messages: [{ role: 'user', content: 'hi' }], ...extra })

const PATH = '/v1/chat/completions'
const ask = (extra: object = {}) => edge.call('key-acme', PATH, { method: 'POST', body: body(extra) })

/** URL of the backend that a response came from. */
async function backendOf(response: Response): Promise<string> {
  const id = response.headers.get('x-request-id')
  await response.text()
  return backends.find(({ generations }) => generations.some(({ requestId }) => requestId === id))!.url
}

const holders = (digest: string) => backends.filter(({ deltas }) => deltas.has(digest))
const pushes = (digest: string) => backends.flatMap((backend) => backend.pushes).filter((pushed) => pushed === digest)
const asked = () => backends.reduce((sum, backend) => sum + backend.asked, 0)

describe('an adapter', () => {
  test('is brought to its backend while the prompt is still being read, and is pushed once', async () => {
    const digest = await edge.publish('key-acme', 'acme/long-prompt', 1)
    const text = body({ model: 'acme/long-prompt', messages: [{ role: 'user', content: 'word '.repeat(2_000) }] })
    const { hostname, port } = new URL(edge.url)
    const headers = { authorization: 'Bearer key-acme', 'content-length': text.length }
    const sent = httpRequest({ hostname, port, method: 'POST', path: '/v1/chat/completions', headers })
    const answered = new Promise<{ status: number; text: string }>((resolve) => {
      sent.on('response', async (response) => {
        let answer = ''
        for await (const piece of response) answer += piece
        resolve({ status: response.statusCode ?? 0, text: answer })
      })
    })
    sent.write(text.slice(0, 1_000))
    await waitFor(async () => holders(digest).length === 1)
    expect(backends.flatMap(({ generations }) => generations).some(({ request }) => request.delta === digest)).toBe(
      false,
    )
    sent.end(text.slice(1_000))
    const { status, text: answer } = await answered
    expect(status).toBe(200)
    expect(JSON.parse(answer)).toMatchObject({ polylora: { adapter: digest } })
    expect(pushes(digest)).toHaveLength(1)
    const record = await waitFor(() => edge.db.prepare('SELECT cold FROM usage WHERE digest = ?').bind(digest).first())
    expect(record).toEqual({ cold: 1 })
  })

  test('stays on one backend while that is not busy', async () => {
    const digest = await edge.publish('key-acme', 'acme/settled', 2)
    const urls = new Set<string>()
    for (let i = 0; i < 10; i++) urls.add(await backendOf(await ask({ model: 'acme/settled' })))
    expect(urls.size).toBe(1)
    expect(pushes(digest)).toHaveLength(1)
  })

  test('that everybody wants spreads to a second backend', async () => {
    await edge.publish('key-acme', 'acme/hot', 3)
    const gate = Promise.withResolvers<void>()
    for (const backend of backends) backend.behaviour.pace = () => gate.promise
    const streams = Array.from({ length: 12 }, () => ask({ model: 'acme/hot', stream: true }))
    const responses = await Promise.all(streams)
    gate.resolve()
    const urls = await Promise.all(responses.map(backendOf))
    expect(new Set(urls).size).toBeGreaterThan(1)
  })

  test('comes to the next backend from the cache of the data centre, without storage', async () => {
    const digest = await edge.publish('key-acme', 'acme/cached', 4)
    await (await ask({ model: 'acme/cached' })).text()
    await waitFor(() => edge.hasCopy(digest))
    await edge.deltas.delete(`deltas/${digest.replace(':', '/')}`)
    const [first] = holders(digest)
    first!.deltas.clear()
    first!.behaviour.refuse = 'unavailable'
    expect((await ask({ model: 'acme/cached' })).status).toBe(200)
    const [second] = holders(digest)
    expect(second!.deltas.get(digest)).toEqual(Buffer.from(makeDelta(4)))
  })

  test('whose copy in the cache is damaged comes from storage', async () => {
    const digest = await edge.publish('key-acme', 'acme/damaged', 5)
    await edge.damageCopy(digest)
    const response = await ask({ model: 'acme/damaged' })
    expect(response.status).toBe(200)
    expect(response.headers.get('x-polylora-adapter')).toBe(digest)
  })
})

describe('a backend', () => {
  test('that refused is asked again only once a probe says that it is ready', async () => {
    const [leaving, ...others] = backends
    Object.assign(leaving!.behaviour, { refuse: 'unavailable', ready: false })
    const before = leaving!.asked
    while (leaving!.asked === before) await (await ask()).text()
    const urls = new Set<string>()
    // Which one is asked is drawn: of four, one may be left out by thirty requests.
    for (let i = 0; i < 30 || urls.size < others.length; i++) urls.add(await backendOf(await ask()))
    expect(leaving!.asked).toBe(before + 1)
    expect(urls.size).toBe(others.length)
    Object.assign(leaving!.behaviour, { refuse: undefined, ready: true })
    await waitFor(async () => (await backendOf(await ask())) === leaving!.url)
  })

  test('is one of three at most that a request is tried on', async () => {
    for (const backend of backends) backend.behaviour.refuse = 'unavailable'
    const before = asked()
    const response = await ask()
    expect(response.status).toBe(503)
    expect(response.headers.get('retry-after')).toBe('1')
    expect(asked() - before).toBe(3)
  })
})

describe('a backend that falls silent in the middle', () => {
  /** Longer than a stream stays without a sign of life. */
  const PATIENCE_MS = 1_500

  test('ends the answer with an error, and the request costs nothing', async () => {
    const silent = await new ProtocolBackend().listen()
    const impatient = await startEdge(silent.url, {
      POLYLORA_BACKEND_SECRET: BACKEND_SECRET,
      BACKEND_PATIENCE_MS: String(PATIENCE_MS),
    })
    onTestFinished(async () => {
      await impatient.close()
      await silent.close()
    })
    await impatient.addTenant('acme', 'key-acme')
    const gate = Promise.withResolvers<void>()
    let words = 0
    silent.behaviour.pace = async () => {
      if (words++ === 2) await gate.promise
    }
    const response = await impatient.call('key-acme', PATH, { method: 'POST', body: body({ stream: true }) })
    const text = await response.text()
    gate.resolve()
    expect(text).toContain('Hello')
    expect(text).toContain(': still here')
    expect(text).toContain('"code":"generation_failed"')
    expect(text).not.toContain('[DONE]')
    const id = response.headers.get('x-request-id')
    const record = await waitFor(() =>
      impatient.db.prepare('SELECT * FROM usage WHERE request_id = ?').bind(id).first(),
    )
    expect(record).toMatchObject({ outcome: 'failed', completion_tokens: 2, price_nano: 0 })
  })
})
