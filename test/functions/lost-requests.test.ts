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
    const key = await tenant('vanished', { tokens_per_minute: 20, billing: 'prepaid', ...PRICES })
    const { lost, finish } = await lose(key)
    expect(lost).toMatchObject({ prompt_tokens: 7, completion_tokens: 0, price_nano: 5 * 100 + 2 * 10 })
    expect(await balanceOf(key)).toBe(CREDIT_NANO - 5 * 100 - 2 * 10)
    await finish()
    await waitFor(async () => (await recordsOf(key)).some(({ outcome }) => outcome === 'complete'))
    expect(await recordsOf(key)).toMatchObject([{ completion_tokens: 5, price_nano: PRICE_NANO }])
    expect(await balanceOf(key)).toBe(CREDIT_NANO - PRICE_NANO)
    // Its tokens are drawn once: there are enough for another.
    expect((await ask(key)).status).toBe(200)
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

/** A request that its backend has, which counts it under `counted`, and holds until `gate` is resolved. */
async function held(counted: 'asked' | 'embedded', start: () => Promise<Response>) {
  const gate = Promise.withResolvers<void>()
  backend.behaviour.hold = gate.promise
  const before = backend[counted]
  const first = start()
  await waitFor(async () => backend[counted] > before)
  backend.reset()
  return { gate, first }
}

describe('a request that waits for a backend', () => {
  /** Tenant `id`, whose balance covers one request, and a first one that its backend has, and holds until `gate` is resolved. */
  async function waiting(id: string) {
    const key = await tenant(id, { billing: 'prepaid', ...PRICES })
    await edge.admin('POST', `/tenants/${id}/credits`, { id: 'a', amount_nano: 15_000 })
    // Past the alarm that a meter sets when it starts.
    await new Promise((resolve) => setTimeout(resolve, 800))
    return {
      key,
      ...(await held('asked', () => ask(key))),
      heldNano: async () => (await edge.admin('GET', `/tenants/${id}`)).body.held_nano,
    }
  }

  test.each([
    ['longer than one that runs may be silent', () => new Promise((resolve) => setTimeout(resolve, 1.2 * LEASE_MS))],
    ['while its meter is removed from memory', (key: string) => edge.evictMeter(key)],
  ])('has the balance held for it %s', async (what, wait) => {
    const { key, gate, first, heldNano } = await waiting(`waiting-${what.split(' ')[0]}`)
    await wait(key)
    const unpaid = await ask(key)
    expect(await unpaid.json()).toMatchObject({ error: { code: 'insufficient_quota' } })
    gate.resolve()
    expect((await first).status).toBe(200)
    expect(await heldNano()).toBe(0)
  })

  test('has nothing held for it once its edge must have died, as the next request finds', async () => {
    const { key, gate, first } = await waiting('found-dead')
    const beganMs = Date.now()
    await waitFor(async () => (await ask(key)).status === 200)
    expect(Date.now() - beganMs).toBeGreaterThan(2 * LEASE_MS)
    gate.resolve()
    await first
  })

  test('has nothing held for it then, as a meter finds that was removed from memory', async () => {
    const { key, gate, first, heldNano } = await waiting('found-later')
    await edge.evictMeter(key)
    expect(await heldNano()).toBeGreaterThan(0)
    await waitFor(async () => (await heldNano()) === 0)
    gate.resolve()
    await first
  })
})

describe('an embedding', () => {
  /** 40 tokens as far as anybody knows, 30 as the backend counts them. */
  const input = Array.from({ length: 10 }, () => 'twelve chars')
  const embed = (key: string) =>
    edge.call(key, '/v1/embeddings', { method: 'POST', body: JSON.stringify({ model: 'tiny-base', input }) })
  const remainingOf = (response: Response) => Number(response.headers.get('x-ratelimit-remaining-tokens'))

  /** Tenant `id`, whose limit is one embedding's tokens, and a first one that its backend holds until `gate` is resolved. */
  async function waiting(id: string) {
    const key = await tenant(id, { tokens_per_minute: 60 })
    return { key, ...(await held('embedded', () => embed(key))) }
  }

  test('counts against the limits while its meter is removed from memory, and afterwards what it used', async () => {
    const { key, gate, first } = await waiting('embedding')
    await edge.evictMeter(key)
    expect((await embed(key)).status).toBe(429)
    gate.resolve()
    expect((await first).status).toBe(200)
    const limited = await embed(key)
    expect(limited.status).toBe(429)
    expect(remainingOf(limited)).toBeGreaterThanOrEqual(60 - 30)
  })

  test('counts against the limits when it ends, though it took longer than an edge is waited for', async () => {
    const { key, gate, first } = await waiting('embedding-long')
    const second = await waitFor(async () => {
      const answer = await embed(key)
      return answer.status === 200 && answer
    })
    await second.text()
    gate.resolve()
    expect((await first).status).toBe(200)
    const limited = await embed(key)
    expect(limited.status).toBe(429)
    expect(remainingOf(limited)).toBeLessThan(60 - 30)
  })
})
