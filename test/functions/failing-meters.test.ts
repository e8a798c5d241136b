// Meters that miss what they are asked, or fail to say that they have done it: a request is granted once, and its books are
// right. And what a grant costs.
import { afterAll, expect, test } from 'vitest'
import { ADMIN_KEY, type EdgeHarness, startEdge, waitFor } from '../support/edge-harness.ts'
import type { MeterDouble } from '../support/meter-doubles.ts'
import { meteredBy } from '../support/metered.ts'
import { BACKEND_SECRET, ProtocolBackend } from '../support/protocol-backend.ts'

const PRICES = { prompt_price_nano: 100, cached_price_nano: 10, completion_price_nano: 1000 }
/** 5 prompt tokens, 2 cached ones, 5 of the answer. */
const PRICE_NANO = 5 * 100 + 2 * 10 + 5 * 1000

const backend = await new ProtocolBackend().listen()
const edges: EdgeHarness[] = []
afterAll(async () => {
  for (const edge of edges) await edge.close()
  await backend.close()
})

async function edgeWith(meter: MeterDouble, settings: Record<string, string> = {}) {
  const secrets = { POLYLORA_BACKEND_SECRET: BACKEND_SECRET, POLYLORA_ADMIN_KEY: ADMIN_KEY }
  const edge = await startEdge(backend.url, { ...secrets, ...settings }, { meter })
  edges.push(edge)
  return { edge, ...meteredBy(edge) }
}

test('a meter that fails to say what it has done is asked again, and has done it once', async () => {
  const { tenant, ask, recordsOf } = await edgeWith('MeterThatStumbles')
  const key = await tenant('stumbling', { requests_per_minute: 2, ...PRICES })
  for (const [remaining, headers] of [['1', { 'idempotency-key': 'order' }] as const, ['0', {}] as const]) {
    const response = await ask(key, {}, headers)
    expect(response.status).toBe(200)
    expect(response.headers.get('x-ratelimit-remaining-requests')).toBe(remaining)
    expect(await response.json()).toMatchObject({ choices: [{ message: { content: 'Hello from the model.' } }] })
  }
  await waitFor(async () => (await recordsOf(key)).length >= 2)
  const complete = { outcome: 'complete', price_nano: PRICE_NANO }
  expect(await recordsOf(key)).toMatchObject([complete, complete])
})

test('the end of an answer waits for a meter that misses its settlement for a moment', async () => {
  const { edge, tenant, ask } = await edgeWith('MeterThatMissesSettlements', { SETTLE_FAILURES: '3' })
  const key = await tenant('missing', { billing: 'prepaid', ...PRICES })
  await edge.admin('POST', '/tenants/missing/credits', { id: 'a', amount_nano: 1_000_000 })
  expect(await (await ask(key, { stream: true })).text()).toContain('[DONE]')
  expect((await edge.admin('GET', '/tenants/missing')).body).toMatchObject({ balance_nano: 1_000_000 - PRICE_NANO })
})

test('an answer that a meter could not settle for longer is settled behind it, once and at its full price', async () => {
  const { edge, tenant, ask, recordsOf } = await edgeWith('MeterThatMissesSettlements', { SETTLE_FAILURES: '5' })
  const key = await tenant('absent', PRICES)
  const embedded = edge.call(key, '/v1/embeddings', {
    method: 'POST',
    body: JSON.stringify({ model: 'tiny-base', input: ['a', 'b'] }),
  })
  const answers = await Promise.all([ask(key), embedded])
  expect(answers.map(({ status }) => status)).toEqual([200, 200])
  await Promise.all(answers.map((answer) => answer.text()))
  expect(await recordsOf(key)).toEqual([])
  await waitFor(async () => (await recordsOf(key)).length === 2)
  const records = (await recordsOf(key)).toSorted((a, b) => String(a.route).localeCompare(String(b.route)))
  expect(records).toMatchObject([
    { route: '/v1/chat/completions', outcome: 'complete', price_nano: PRICE_NANO },
    { route: '/v1/embeddings', outcome: 'complete', price_nano: 6 * 100 },
  ])
})

test('what a meter hears of a request that is settled already does not open it again', async () => {
  const { edge, tenant, ask } = await edgeWith('MeterThatHearsLate')
  const key = await tenant('late-news', { billing: 'prepaid', ...PRICES })
  await edge.admin('POST', '/tenants/late-news/credits', { id: 'a', amount_nano: 1_000_000 })
  expect((await ask(key)).status).toBe(200)
  const open = await waitFor(async () => edge.logs.find((line) => line.startsWith('open when heard late')))
  expect(open).toBe('open when heard late: 0')
})

test('a grant is written down where a limit or a balance depends on it, and nothing is where none does', async () => {
  const { edge, tenant, ask } = await edgeWith('MeterThatCounts')
  const keptFor = async (terms: object) => {
    const key = await tenant(`terms-${Object.keys(terms).join('-')}`, terms)
    await edge.admin('POST', `/tenants/${key}/credits`, { id: 'a', amount_nano: 1_000_000 })
    const id = (await ask(key)).headers.get('x-request-id')
    const line = await waitFor(async () => edge.logs.find((line) => line.startsWith(`kept for ${id}`)))
    return Number(line.split(': ')[1])
  }
  expect(await keptFor(PRICES)).toBe(0)
  expect(await keptFor({ billing: 'prepaid', completion_price_nano: 1 })).toBe(1)
  // The reservation and a bucket.
  expect(await keptFor({ requests_per_minute: 5 })).toBe(2)
})

test('more records than one alarm carries to D1 all come there', async () => {
  const { edge, tenant, ask } = await edgeWith('MeterOfThousands')
  const key = await tenant('thousands')
  expect((await ask(key)).status).toBe(200)
  const count = edge.db.prepare("SELECT COUNT(*) AS n FROM usage WHERE tenant = 'thousands'")
  await waitFor(async () => (await count.first('n')) === 2100)
})
