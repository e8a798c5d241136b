// Requests whose edge is heard of no more, which a test cannot tell from a slow one: the meter gives them up soon here.
import { describe, expect, test } from 'vitest'
import { waitFor } from '../support/edge-harness.ts'
import { edgeOnBackends } from '../support/edge-on-backends.ts'
import { meteredBy } from '../support/metered.ts'

/** Short, so that a test can see it end; a request that takes longer is put right when it ends. */
const LEASE_MS = 1_500

const { backend, edge } = await edgeOnBackends(1, { METER_LEASE_MS: String(LEASE_MS) })
const { tenant, ask, recordsOf } = meteredBy(edge)

const PRICES = { prompt_price_nano: 100, cached_price_nano: 10, completion_price_nano: 1000 }

describe('a request of which nothing is heard for too long', () => {
  /** 5 prompt tokens, 2 cached ones, 5 of the answer. */
  const PRICE_NANO = 5 * 100 + 2 * 10 + 5 * 1000
  const CREDIT_NANO = 1_000_000

  /** Asks under these headers, and waits until the meter has given the request up: it cannot tell this from a dead edge. */
  async function lose(key: string, headers: Record<string, string> = {}) {
    await edge.admin('POST', `/tenants/${key}/credits`, { id: 'first', amount_nano: CREDIT_NANO })
    const gate = Promise.withResolvers<void>()
    backend.behaviour.pace = () => gate.promise
    const answer = ask(key, { stream: true }, headers)
    const lost = await waitFor(async () => (await recordsOf(key)).find(({ outcome }) => outcome === 'lost'))
    backend.reset()
    return {
      lost,
      /** The edge is heard of after all. */
      async finish() {
        gate.resolve()
        expect(await (await answer).text()).toContain('[DONE]')
      },
    }
  }
  const balanceOf = async (id: string) => (await edge.admin('GET', `/tenants/${id}`)).body.balance_nano

  test('is closed with what was heard of it last, and put right by what comes after all', async () => {
    const key = await tenant('vanished', { tokens_per_minute: 1000, billing: 'prepaid', ...PRICES })
    const { lost, finish } = await lose(key)
    expect(lost).toMatchObject({ prompt_tokens: 7, completion_tokens: 0, price_nano: 5 * 100 + 2 * 10 })
    expect(await balanceOf(key)).toBe(CREDIT_NANO - 5 * 100 - 2 * 10)
    await finish()
    await waitFor(async () => (await recordsOf(key)).some(({ outcome }) => outcome === 'complete'))
    expect(await recordsOf(key)).toMatchObject([{ completion_tokens: 5, price_nano: PRICE_NANO }])
    expect(await balanceOf(key)).toBe(CREDIT_NANO - PRICE_NANO)
  })

  test('is not charged where its Idempotency-Key asks for it again, and is then charged once', async () => {
    const key = await tenant('vanished-twice', { billing: 'prepaid', ...PRICES })
    const headers = { 'idempotency-key': 'again' }
    const { lost, finish } = await lose(key, headers)
    expect(lost).toMatchObject({ prompt_tokens: 7, price_nano: 0 })
    const again = await ask(key, {}, headers)
    expect(again.status).toBe(200)
    expect(again.headers.get('x-polylora-replayed')).toBeNull()
    await again.text()
    // The first one's answer comes late, and finds the key taken.
    await finish()
    const complete = async () => (await recordsOf(key)).filter(({ outcome }) => outcome === 'complete')
    await waitFor(async () => (await complete()).length === 2)
    expect((await complete()).map(({ price_nano: price }) => price).sort()).toEqual([0, PRICE_NANO])
    expect(await balanceOf(key)).toBe(CREDIT_NANO - PRICE_NANO)
    expect((await ask(key, {}, headers)).headers.get('x-polylora-replayed')).toBe('true')
  })

  test('brings its answer to its Idempotency-Key where it comes before anybody has asked again', async () => {
    const key = await tenant('vanished-late', { billing: 'prepaid', ...PRICES })
    const headers = { 'idempotency-key': 'late' }
    const { finish } = await lose(key, headers)
    await finish()
    const again = await ask(key, {}, headers)
    expect(again.headers.get('x-polylora-replayed')).toBe('true')
    expect(await again.json()).toMatchObject({ choices: [{ message: { content: 'Hello from the model.' } }] })
    expect(await balanceOf(key)).toBe(CREDIT_NANO - PRICE_NANO)
  })
})

test('a balance is held for a request that waits for a backend longer than one that runs may be silent', async () => {
  const key = await tenant('waiting', { billing: 'prepaid', ...PRICES })
  await edge.admin('POST', '/tenants/waiting/credits', { id: 'a', amount_nano: 15_000 })
  const gate = Promise.withResolvers<void>()
  backend.behaviour.hold = gate.promise
  const before = backend.asked
  const first = ask(key)
  await waitFor(async () => backend.asked > before)
  backend.reset()
  await new Promise((resolve) => setTimeout(resolve, 1.2 * LEASE_MS))
  const unpaid = await ask(key)
  expect(await unpaid.json()).toMatchObject({ error: { code: 'insufficient_quota' } })
  gate.resolve()
  expect((await first).status).toBe(200)
  expect((await edge.admin('GET', '/tenants/waiting')).body).toMatchObject({ held_nano: 0 })
})
