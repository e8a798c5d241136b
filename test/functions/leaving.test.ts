// Clients that leave, where the platform tells the edge so and ends what it does not wait for, as a deployed one does.
import { beforeEach, describe, expect, test } from 'vitest'
import { waitFor } from '../support/edge-harness.ts'
import { edgeOnBackends } from '../support/edge-on-backends.ts'
import { meteredBy } from '../support/metered.ts'

const { backend, edge } = await edgeOnBackends()
const { tenant, ask, recordsOf } = meteredBy(edge)

beforeEach(() => backend.reset())

const CHAT = '/v1/chat/completions'
const question = (stream: boolean, headers: Record<string, string> = {}) => ({
  headers,
  body: JSON.stringify({ model: 'tiny-base', max_tokens: 10, stream, messages: [{ role: 'user', content: 'hi' }] }),
})
const texts = { body: JSON.stringify({ model: 'tiny-base', input: 'hi' }) }

/** Resolves once the backend has been asked once more than now. */
function askedOnceMore(): Promise<unknown> {
  const begun = () => backend.asked + backend.embedded
  const before = begun()
  return waitFor(async () => begun() > before)
}

describe('a client that leaves', () => {
  test.each([
    { what: 'an answer', path: CHAT, request: question(false) },
    { what: 'a stream', path: CHAT, request: question(true) },
    { what: 'vectors', path: '/v1/embeddings', request: texts },
  ])('before $what has begun pays nothing, and nothing of its balance is held', async ({ what, path, request }) => {
    const key = await tenant(what.replace(' ', '-'), { billing: 'prepaid', prompt_price_nano: 1 })
    await edge.admin('POST', `/tenants/${key}/credits`, { id: 'a', amount_nano: 1000 })
    backend.behaviour.hold = new Promise(() => {})
    await edge.callAndLeave(key, path, request, askedOnceMore())
    const account = async () => (await edge.admin('GET', `/tenants/${key}`)).body
    await waitFor(async () => (await account()).held_nano === 0)
    expect(await account()).toMatchObject({ balance_nano: 1000 })
  })

  test('in the middle of a stream ends it, and pays for what had come', async () => {
    const key = await tenant('middle')
    let words = 0
    backend.behaviour.pace = () => (words++ === 0 ? Promise.resolve() : new Promise(() => {}))
    await edge.callAndLeave(key, CHAT, question(true))
    await waitFor(async () => backend.generations.at(-1)?.closed)
    const records = await waitFor(async () => {
      const rows = await recordsOf(key)
      return rows.length > 0 && rows
    })
    expect(records).toMatchObject([{ outcome: 'cut', completion_tokens: 1 }])
    // Whoever watches the log for model servers that fail is not told of clients that leave.
    expect(edge.logs.filter((line) => line.includes('generation_failed'))).toEqual([])
  })

  test.each([false, true])(
    'before its answer has begun finds it under its Idempotency-Key (streamed: %s)',
    async (stream) => {
      const key = await tenant(`back-${stream}`)
      const headers = { 'idempotency-key': 'k' }
      const gate = Promise.withResolvers<void>()
      backend.behaviour.hold = gate.promise
      await edge.callAndLeave(key, CHAT, question(stream, headers), askedOnceMore())
      gate.resolve()
      const replayed = await waitFor(async () => {
        const again = await ask(key, {}, headers)
        return again.status === 200 && again
      })
      expect(replayed.headers.get('x-polylora-replayed')).toBe('true')
      expect(backend.generations.filter((generation) => generation.tenant === key)).toHaveLength(1)
    },
  )

  test('an answer that is kept but takes longer than the platform lets it is paid for as far as it came', async () => {
    const key = await tenant('endless', { completion_price_nano: 7 })
    let words = 0
    backend.behaviour.pace = () => (words++ === 0 ? Promise.resolve() : new Promise(() => {}))
    await edge.callAndLeave(key, CHAT, question(true, { 'idempotency-key': 'k' }))
    const records = await waitFor(async () => {
      const rows = await recordsOf(key)
      return rows.length > 0 && rows
    })
    expect(records).toMatchObject([{ outcome: 'cut', completion_tokens: 1, price_nano: 7 }])
    backend.reset()
    expect((await ask(key, { stream: true }, { 'idempotency-key': 'k' })).status).toBe(200)
  }, 60_000)
})
