import { beforeEach, describe, expect, test } from 'vitest'
import { waitFor } from '../support/edge-harness.ts'
import { edgeOnBackends } from '../support/edge-on-backends.ts'
import { meteredBy } from '../support/metered.ts'
import { BASE_INFO } from '../support/protocol-backend.ts'

const { backend, edge } = await edgeOnBackends()

beforeEach(() => backend.reset())

const { tenant, ask, recordsOf } = meteredBy(edge)
const errorCode = async (response: Response) => ((await response.json()) as { error: { code: string } }).error.code

describe('limits', () => {
  test('of requests are told in every answer, and end in 429 with Retry-After', async () => {
    const key = await tenant('few-requests', { requests_per_minute: 2 })
    const first = await ask(key)
    expect(first.headers.get('x-ratelimit-limit-requests')).toBe('2')
    expect(first.headers.get('x-ratelimit-remaining-requests')).toBe('1')
    expect(first.headers.get('x-ratelimit-reset-requests')).toMatch(/^\d+\.\d{3}s$/)
    expect((await ask(key)).status).toBe(200)
    const third = await ask(key)
    expect(third.headers.get('x-ratelimit-limit-requests')).toBe('2')
    expect(third.status).toBe(429)
    expect(Number(third.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(third.headers.get('x-ratelimit-remaining-requests')).toBe('0')
    expect(await errorCode(third)).toBe('rate_limit_exceeded')
  })

  test('are told in a refusal of a backend, too', async () => {
    const key = await tenant('told', { requests_per_minute: 5 })
    backend.behaviour.refuse = 'context_length_exceeded'
    const response = await ask(key)
    expect(response.status).toBe(400)
    expect(response.headers.get('x-ratelimit-remaining-requests')).toBe('4')
  })

  test('of tokens count what was reserved, and give back what was not used', async () => {
    const key = await tenant('few-tokens', { tokens_per_minute: 1000 })
    // 900 may be used, 12 are: prompt 7, answer 5.
    const first = await ask(key, { max_tokens: 900 })
    await first.json()
    const second = await ask(key, { max_tokens: 900 })
    expect(second.status).toBe(200)
    await second.json()
    const third = await ask(key, { max_tokens: 10 })
    const remaining = Number(third.headers.get('x-ratelimit-remaining-tokens'))
    expect(remaining).toBeGreaterThan(1000 - 2 * 12 - 11 - 5)
    expect(remaining).toBeLessThan(1000)
  })

  test('of tokens are asked for all of a minute’s by a request that wants more, which any other would not wait for', async () => {
    const key = await tenant('greedy', { tokens_per_minute: 100 })
    const large = await ask(key, { max_tokens: 900 })
    expect(large.status).toBe(200)
    expect(large.headers.get('x-ratelimit-remaining-tokens')).toBe('0')
    await large.json()
    expect((await ask(key, { max_tokens: 900 })).status).toBe(429)
    expect((await ask(key, { max_tokens: 50 })).status).toBe(200)
  })

  test('of one tenant are nobody else’s', async () => {
    const key = await tenant('loud', { requests_per_minute: 1 })
    const other = await tenant('quiet', { requests_per_minute: 1 })
    await ask(key)
    expect((await ask(key)).status).toBe(429)
    expect((await ask(other)).status).toBe(200)
  })

  test('survive a restart of the meter', async () => {
    const key = await tenant('restarted', { requests_per_minute: 1 })
    await (await ask(key)).json()
    await edge.evictMeter(key)
    expect((await ask(key)).status).toBe(429)
  })
})

describe('a prepaid balance', () => {
  const prices = { prompt_price_nano: 100, cached_price_nano: 10, completion_price_nano: 1000 }

  test('pays for what was used at the agreed prices, and refuses what it does not cover', async () => {
    const key = await tenant('prepaid', { billing: 'prepaid', ...prices })
    const unpaid = await ask(key)
    expect(unpaid.status).toBe(429)
    expect(unpaid.headers.get('x-should-retry')).toBe('false')
    expect(await errorCode(unpaid)).toBe('insufficient_quota')

    const credit = { id: 'invoice-1', amount_nano: 20_000 }
    expect((await edge.admin('POST', '/tenants/prepaid/credits', credit)).body).toMatchObject({ balance_nano: 20_000 })
    // The same payment again counts once.
    expect((await edge.admin('POST', '/tenants/prepaid/credits', credit)).body).toMatchObject({ balance_nano: 20_000 })
    // With another amount it is no repetition, and whoever sent it must hear of it.
    const other = await edge.admin('POST', '/tenants/prepaid/credits', { ...credit, amount_nano: 30_000 })
    expect(other).toMatchObject({ status: 422, body: { error: { code: 'payment_id_reused', param: 'id' } } })
    const answer = await (await ask(key)).json()
    // 5 prompt tokens, 2 cached ones, 5 of the answer.
    const price = 5 * 100 + 2 * 10 + 5 * 1000
    expect(answer).toMatchObject({ polylora: { price_nano: price } })
    expect((await edge.admin('GET', '/tenants/prepaid')).body).toMatchObject({
      balance_nano: 20_000 - price,
      held_nano: 0,
    })
    const records = await waitFor(async () => {
      const rows = await recordsOf('prepaid')
      return rows.length > 0 && rows
    })
    expect(records).toMatchObject([{ price_nano: price }])
    expect((await ask(key, { max_tokens: 5000 })).status).toBe(429)
  })

  test('covers the most that a request may cost, and is never overdrawn by what runs at once', async () => {
    const key = await tenant('covered', { billing: 'prepaid', prompt_price_nano: 1, completion_price_nano: 100 })
    // Two answers without max_tokens are covered, though each takes but 5 tokens in the end.
    const most = BASE_INFO.context_tokens * 100
    await edge.admin('POST', '/tenants/covered/credits', { id: 'a', amount_nano: 2 * most + 100 })
    const gate = Promise.withResolvers<void>()
    backend.behaviour.pace = () => gate.promise
    const open = { max_tokens: undefined }
    const before = backend.asked
    const running = [ask(key, open), ask(key, open)]
    await waitFor(async () => backend.asked === before + 2)
    expect(await errorCode(await ask(key, open))).toBe('insufficient_quota')
    expect((await edge.admin('GET', '/tenants/covered')).body.held_nano).toBe(2 * (most + 'hi'.length + 1))
    gate.resolve()
    expect((await Promise.all(running)).map(({ status }) => status)).toEqual([200, 200])
    const { body } = await edge.admin('GET', '/tenants/covered')
    expect(body.held_nano).toBe(0)
    // Characters of three bytes may be three tokens each: 301 for the prompt, and 100 for the answer.
    const messages = [{ role: 'user', content: '店'.repeat(100) }]
    await edge.admin('POST', '/tenants/covered/credits', { id: 'b', amount_nano: 400 - Number(body.balance_nano) })
    expect(await errorCode(await ask(key, { max_tokens: 1, messages }))).toBe('insufficient_quota')
    await edge.admin('POST', '/tenants/covered/credits', { id: 'c', amount_nano: 1 })
    expect((await ask(key, { max_tokens: 1, messages })).status).toBe(200)
  })

  const long = 'x'.repeat(1000)
  const call = { name: 'find', arguments: JSON.stringify({ what: long }) }
  test.each([
    ['calls', { messages: [{ role: 'assistant', tool_calls: [{ id: 'call-1', type: 'function', function: call }] }] }],
    ['thoughts', { messages: [{ role: 'assistant', content: 'Yes.', reasoning_content: long }] }],
    ['variables', { chat_template_kwargs: { instructions: long } }],
  ])('covers %s in a request, which templates write like any text', async (name, request) => {
    const key = await tenant(name, { billing: 'prepaid', prompt_price_nano: 1, completion_price_nano: 1 })
    await edge.admin('POST', `/tenants/${name}/credits`, { id: 'a', amount_nano: 1000 })
    expect(await errorCode(await ask(key, { max_tokens: 1, ...request }))).toBe('insufficient_quota')
    await edge.admin('POST', `/tenants/${name}/credits`, { id: 'b', amount_nano: 1000 })
    expect((await ask(key, { max_tokens: 1, ...request })).status).toBe(200)
  })

  test('is not charged for an answer that the backend broke off', async () => {
    const key = await tenant('broken', { billing: 'prepaid', ...prices })
    await edge.admin('POST', '/tenants/broken/credits', { id: 'a', amount_nano: 1_000_000 })
    backend.behaviour.failAfter = 2
    expect((await ask(key)).status).toBe(502)
    const balance = async () => (await edge.admin('GET', '/tenants/broken')).body
    expect(await waitFor(async () => (await balance()).held_nano === 0 && balance())).toMatchObject({
      balance_nano: 1_000_000,
    })
  })
})

describe('an Idempotency-Key', () => {
  test('brings the same answer again, generated and charged once', async () => {
    const key = await tenant('twice')
    const headers = { 'idempotency-key': 'order-1' }
    const first = await ask(key, {}, headers)
    const second = await ask(key, {}, headers)
    expect(first.headers.get('x-polylora-replayed')).toBeNull()
    expect(second.headers.get('x-polylora-replayed')).toBe('true')
    expect(await second.json()).toMatchObject({
      ...((await first.json()) as object),
      created: expect.any(Number),
    })
    expect(backend.generations.filter((generation) => generation.tenant === key)).toHaveLength(1)
    await ask(key, {}, { 'idempotency-key': 'order-2' })
    await waitFor(async () => (await recordsOf(key)).length === 2)
  })

  test('brings an answer that was whole as a stream, too', async () => {
    const key = await tenant('streamed-again')
    const headers = { 'idempotency-key': 'x' }
    await (await ask(key, {}, headers)).json()
    const text = await (await ask(key, { stream: true }, headers)).text()
    expect(text).toContain('Hello from the model.')
    expect(text).toContain('data: [DONE]')
  })

  test('finishes the answer of a client that left, for it to come back to', async () => {
    const key = await tenant('came-back')
    const headers = { 'idempotency-key': 'y' }
    const gate = Promise.withResolvers<void>()
    let words = 0
    backend.behaviour.pace = async () => {
      if (words++ > 0) await gate.promise
    }
    const response = await ask(key, { stream: true }, headers)
    const reader = response.body!.getReader()
    await reader.read()
    await reader.cancel()
    const busy = await ask(key, { stream: true }, headers)
    expect(busy.status).toBe(409)
    expect(await errorCode(busy)).toBe('idempotency_key_in_use')
    gate.resolve()
    const replayed = await waitFor(async () => {
      const again = await ask(key, {}, headers)
      return again.status === 200 && again
    })
    expect(await replayed.json()).toMatchObject({ choices: [{ message: { content: 'Hello from the model.' } }] })
    const records = await waitFor(async () => {
      const rows = await recordsOf(key)
      return rows.length > 0 && rows
    })
    expect(records).toMatchObject([{ outcome: 'complete', completion_tokens: 5 }])
  })

  test('finishes an answer that was not streamed for a client that left, too', async () => {
    const key = await tenant('came-back-whole')
    const headers = { 'idempotency-key': 'w' }
    const gate = Promise.withResolvers<void>()
    backend.behaviour.pace = () => gate.promise
    const abort = new AbortController()
    const body = JSON.stringify({ model: 'tiny-base', messages: [{ role: 'user', content: 'hi' }], max_tokens: 10 })
    const left = edge.call(key, '/v1/chat/completions', { method: 'POST', headers, body, signal: abort.signal })
    await waitFor(async () => backend.generations.some((generation) => generation.tenant === key))
    abort.abort()
    await expect(left).rejects.toThrow()
    gate.resolve()
    const replayed = await waitFor(async () => {
      const again = await ask(key, {}, headers)
      return again.status === 200 && again
    })
    expect(await replayed.json()).toMatchObject({ choices: [{ message: { content: 'Hello from the model.' } }] })
    expect(backend.generations.filter((generation) => generation.tenant === key)).toHaveLength(1)
  })

  test('brings the same vectors again, computed and charged once, in whichever form', async () => {
    const key = await tenant('vectors')
    const embed = (extra: object = {}) =>
      edge.call(key, '/v1/embeddings', {
        method: 'POST',
        headers: { 'idempotency-key': 'v' },
        body: JSON.stringify({ model: 'tiny-base', input: ['ab', 'abcd'], ...extra }),
      })
    const before = backend.embedded
    const first = await embed()
    expect(first.headers.get('x-polylora-replayed')).toBeNull()
    const again = await embed()
    expect(again.headers.get('x-polylora-replayed')).toBe('true')
    expect(again.headers.get('x-polylora-adapter')).toBe('base')
    expect(await again.json()).toEqual(await first.json())
    const base64 = Buffer.from(Float32Array.of(2, 0, 0.5).buffer).toString('base64')
    expect(await (await embed({ encoding_format: 'base64' })).json()).toMatchObject({
      data: [{ embedding: base64 }, {}],
    })
    expect(backend.embedded).toBe(before + 1)
    const other = await embed({ input: 'another text' })
    expect(other.status).toBe(422)
    await (await ask(key)).json()
    await waitFor(async () => (await recordsOf(key)).some(({ route }) => route === '/v1/chat/completions'))
    expect((await recordsOf(key)).filter(({ route }) => route === '/v1/embeddings')).toHaveLength(1)
  })

  test('whose answer is too large to be kept is not charged again, but refused', async () => {
    const key = await tenant('large')
    const headers = { 'idempotency-key': 'l' }
    backend.behaviour.words = Array.from({ length: 64 }, () => 'x'.repeat(25_000))
    const first = await ask(key, { max_tokens: 64 }, headers)
    expect(first.status).toBe(200)
    await first.text()
    const again = await ask(key, { max_tokens: 64 }, headers)
    expect(again.status).toBe(409)
    expect(await errorCode(again)).toBe('answer_not_kept')
    expect(backend.generations.filter((generation) => generation.tenant === key)).toHaveLength(1)
  })

  test('of the latest answers has its answer, however many came before; the oldest made room, and are not charged again', async () => {
    const key = await tenant('many')
    backend.behaviour.words = ['x'.repeat(1_400_000)]
    const headers = (order: number) => ({ 'idempotency-key': `order-${order}` })
    const orders = Array.from({ length: 50 }, (_, order) => order)
    for (const order of orders) await (await ask(key, {}, headers(order))).text()
    const asked = backend.generations.length
    const again = []
    for (const order of [0, orders.length - 1]) again.push(await ask(key, {}, headers(order)))
    expect(again.map(({ status }) => status)).toEqual([409, 200])
    expect(await errorCode(again[0]!)).toBe('answer_not_kept')
    expect(again[1]!.headers.get('x-polylora-replayed')).toBe('true')
    expect((await ask(key, {}, headers(orders.length))).status).toBe(200)
    expect(backend.generations).toHaveLength(asked + 1)
  })

  test('may be tried again after a failure, and not with another request', async () => {
    const key = await tenant('again')
    const headers = { 'idempotency-key': 'z' }
    backend.behaviour.refuse = 'unavailable'
    expect((await ask(key, {}, headers)).status).toBe(503)
    backend.behaviour.refuse = undefined
    await waitFor(async () => (await ask(key, {}, headers)).status === 200)
    const other = await ask(key, { max_tokens: 3 }, headers)
    expect(other.status).toBe(422)
    expect(await errorCode(other)).toBe('idempotency_key_reused')
  })
})

test('a second request under one Idempotency-Key is told to wait, though the meter has been removed from memory since', async () => {
  const key = await tenant('remembered')
  const headers = { 'idempotency-key': 'k' }
  const gate = Promise.withResolvers<void>()
  backend.behaviour.hold = gate.promise
  const before = backend.asked
  const first = ask(key, {}, headers)
  await waitFor(async () => backend.asked > before)
  await edge.evictMeter(key)
  expect(await errorCode(await ask(key, {}, headers))).toBe('idempotency_key_in_use')
  gate.resolve()
  expect((await first).status).toBe(200)
  expect((await ask(key, {}, headers)).headers.get('x-polylora-replayed')).toBe('true')
  expect(backend.asked).toBe(before + 1)
})
