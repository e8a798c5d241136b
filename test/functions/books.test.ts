import { afterAll, beforeAll, expect, test } from 'vitest'
import { type EdgeHarness, makeDelta, startEdge, waitFor } from '../support/edge-harness.ts'
import { ProtocolBackend } from '../support/protocol-backend.ts'

const REQUESTS = 1000
const STREAMS = 16
/** A thousand requests on a busy machine. */
const TIMEOUT = { timeout: 300_000 }
const FAULTS = 0.1
const TENANTS = ['books-a', 'books-b', 'books-c']
const PRICES = { prompt_price_nano: 100, cached_price_nano: 10, completion_price_nano: 1000 }
const CREDIT_NANO = 1_000_000_000

let backends: ProtocolBackend[]
let edge: EdgeHarness
const digests = new Map<string, string>()

beforeAll(async () => {
  backends = await Promise.all([1, 2, 3].map(() => new ProtocolBackend().listen()))
  edge = await startEdge(backends.map(({ url }) => url).join(','))
  for (const [seed, tenant] of TENANTS.entries()) {
    await edge.admin('POST', '/tenants', { id: tenant, billing: 'prepaid', ...PRICES })
    await edge.admin('POST', `/tenants/${tenant}/credits`, { id: 'first', amount_nano: CREDIT_NANO })
    await edge.addTenant(tenant, `key-${tenant}`)
    digests.set(tenant, await edge.publish(`key-${tenant}`, `${tenant}/bot`, seed))
  }
})

afterAll(async () => {
  await edge?.close()
  for (const backend of backends ?? []) await backend.close()
})

/** A generator of the same numbers in [0, 1) every time (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

const random = seeded(2026)
const upTo = (limit: number) => Math.floor(random() * limit)

/** What one generation may meet on a backend. */
const BACKEND_FAULTS = [
  () => ({ refuse: 'unavailable' as const }),
  () => ({ refuse: 'overloaded' as const }),
  () => ({ refuse: 'internal' as const }),
  () => ({ cutAfter: upTo(5) }),
  () => ({ failAfter: upTo(5) }),
  () => ({ pace: () => new Promise<void>((resolve) => setTimeout(resolve, 20)) }),
]

/** What may happen around a request of `tenant`; the function that is returned puts it right. */
const SURROUNDING_FAULTS: ((tenant: string) => Promise<() => Promise<unknown>>)[] = [
  // One that is at rest has nothing to restart.
  async (tenant) => {
    await edge.evictMeter(tenant).catch(() => undefined)
    return async () => undefined
  },
  async () => {
    for (const backend of backends) backend.deltas.clear()
    return async () => undefined
  },
  async () => {
    const backend = backends[upTo(backends.length)]!
    await backend.vanish()
    return () => backend.comeBack()
  },
  async (tenant) => {
    const digest = digests.get(tenant)!
    await edge.deltas.delete(objectKey(digest))
    await edge.dropCopy(digest)
    for (const backend of backends) backend.deltas.delete(digest)
    return () => edge.deltas.put(objectKey(digest), makeDelta(TENANTS.indexOf(tenant)))
  },
  async (tenant) => {
    const digest = digests.get(tenant)!
    await edge.deltas.put(objectKey(digest), 'garbage')
    await edge.damageCopy(digest)
    for (const backend of backends) backend.deltas.delete(digest)
    return () => edge.deltas.put(objectKey(digest), makeDelta(TENANTS.indexOf(tenant)))
  },
]

function objectKey(digest: string): string {
  return `deltas/${digest.replace(':', '/')}`
}

/** Asks once, and says whether a whole answer came; anything else must be an error that says so. */
async function ask(tenant: string, number: number, headers: Record<string, string>): Promise<boolean> {
  const model = number % 4 === 0 ? 'tiny-base' : `${tenant}/bot`
  const stream = number % 2 === 0
  const response = await edge.call(`key-${tenant}`, '/v1/chat/completions', {
    method: 'POST',
    headers,
    body: JSON.stringify({
      model,
      stream,
      max_tokens: 1 + (number % 6),
      messages: [{ role: 'user', content: 'hi' }],
    }),
  })
  const text = await response.text()
  const complete = response.status === 200 && (!stream || text.includes('[DONE]'))
  // An adapter's answer begins with its digest: none ever came from the base.
  if (complete && model !== 'tiny-base') expect(text).toContain(`"content":"${digests.get(tenant)}`)
  if (!complete)
    expect(text).toMatch(/"error":\{"message":"[A-Z][^"]+","type":"\w+","param":(null|"\w+"),"code":"\w+"\}/)
  return complete
}

test('the books balance to the token over 1,000 requests with every tenth a fault', TIMEOUT, async () => {
  for (const backend of backends) {
    backend.behaviour.fault = () => (random() < FAULTS ? BACKEND_FAULTS[upTo(BACKEND_FAULTS.length)]!() : {})
  }
  let next = 0
  const answers = { complete: 0, refused: 0 }
  const stream = async () => {
    while (next < REQUESTS) {
      const number = next++
      const tenant = TENANTS[number % TENANTS.length]!
      const fault = random() < FAULTS / 2 ? SURROUNDING_FAULTS[upTo(SURROUNDING_FAULTS.length)]! : undefined
      const putRight = await fault?.(tenant)
      // Some are sent again with their Idempotency-Key, as a client does that has lost the answer.
      const again = number % 10 === 0
      const headers: Record<string, string> = again ? { 'idempotency-key': `order-${number}` } : {}
      const complete = await ask(tenant, number, headers)
      answers[complete ? 'complete' : 'refused']++
      if (again && complete) expect(await ask(tenant, number, headers)).toBe(true)
      await putRight?.()
      // The registry takes no records for a while: they wait in the meters.
      if (number === 300) await edge.db.exec('ALTER TABLE usage RENAME TO hidden')
      if (number === 500) await edge.db.exec('ALTER TABLE hidden RENAME TO usage')
    }
  }
  await Promise.all(Array.from({ length: STREAMS }, stream))
  expect(answers.complete).toBeGreaterThan(REQUESTS * 0.8)
  expect(answers.refused).toBeGreaterThan(0)

  const generations = backends.flatMap((backend) => backend.generations)
  const records = await waitFor(async () => {
    const { results } = await edge.db.prepare('SELECT * FROM usage').all<Record<string, number | string>>()
    return results.length >= generations.length && new Map(results.map((row) => [row.request_id, row]))
  })
  expect(records.size).toBe(generations.length)
  for (const { requestId, tenant, tokens, closed } of generations) {
    expect(closed).toBe(true)
    expect(records.get(requestId)).toMatchObject({ tenant, completion_tokens: tokens })
  }
  const all = [...records.values()]
  expect(all.filter(({ outcome }) => outcome === 'complete')).toHaveLength(answers.complete)
  for (const tenant of TENANTS) {
    const own = all.filter((record) => record.tenant === tenant)
    const complete = own.filter(({ outcome }) => outcome === 'complete')
    const price = complete.reduce((sum, record) => sum + 5 * 100 + 2 * 10 + Number(record.completion_tokens) * 1000, 0)
    expect(own.reduce((sum, record) => sum + Number(record.price_nano), 0)).toBe(price)
    const { body } = await edge.admin('GET', `/tenants/${tenant}`)
    expect(body).toMatchObject({ balance_nano: CREDIT_NANO - price, held_nano: 0 })
  }
})
