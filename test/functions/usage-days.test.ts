import { afterAll, beforeEach, expect, test } from 'vitest'
import { queryUsage } from '../../functions/registry/usage.ts'
import { ADMIN_KEY, startEdge } from '../support/edge-harness.ts'
import fc from '../support/properties.ts'
import { BACKEND_SECRET } from '../support/protocol-backend.ts'

const DAY_MS = 86_400_000
const NOON = Date.parse('2026-03-20T12:00:00Z')
/** The records of March 18 and later stay. */
const KEPT_DAYS = 2
const FIRST_KEPT = Date.parse('2026-03-18T00:00:00Z')
const secrets = { POLYLORA_BACKEND_SECRET: BACKEND_SECRET, POLYLORA_ADMIN_KEY: ADMIN_KEY }

const edge = await startEdge(
  'http://127.0.0.1:1',
  { ...secrets, USAGE_RECORD_DAYS: String(KEPT_DAYS) },
  { bounded: true },
)
const keepingAll = await startEdge('http://127.0.0.1:1', secrets)
afterAll(() => Promise.all([edge.close(), keepingAll.close()]))

/** `reused` is a name that another tenant had until March 16, 18:00. */
const CREATED = { early: 0, reused: Date.parse('2026-03-16T18:00:00Z') }
type Tenant = keyof typeof CREATED
const TENANTS = Object.keys(CREATED) as Tenant[]
const keyOf = (tenant: Tenant) => `key-${tenant}`

beforeEach(async () => {
  for (const { db, addTenant } of [edge, keepingAll]) {
    for (const tenant of TENANTS) {
      await addTenant(tenant, keyOf(tenant)).catch(() => undefined)
      await db.prepare('UPDATE tenants SET created_ms = ? WHERE id = ?').bind(CREATED[tenant], tenant).run()
    }
    await db.batch(['usage', 'usage_days'].map((table) => db.prepare(`DELETE FROM ${table}`)))
  }
})

const record = fc.record({
  tenant: fc.constantFrom<string>(...TENANTS, 'deleted'),
  started_ms: fc.integer({ min: NOON - 6 * DAY_MS, max: NOON }),
  adapter: fc.constantFrom('bot', 'other', null),
  key_id: fc.constantFrom('k1', 'k2'),
  base: fc.constantFrom('b1', 'b2'),
  outcome: fc.constantFrom('complete', 'cut', 'failed'),
  prompt_tokens: fc.nat(500),
  cached_tokens: fc.nat(100),
  completion_tokens: fc.nat(500),
  cold: fc.nat(1),
  price_nano: fc.nat(1_000_000),
})

type OldRecord = typeof record extends fc.Arbitrary<infer T> ? T : never

let lastId = 0
async function insert(records: readonly OldRecord[], db = edge.db): Promise<void> {
  if (records.length === 0) return
  await db.batch(
    records.map((one) => {
      const row = {
        ...one,
        request_id: `r${++lastId}`,
        digest: one.adapter && `sha256:${one.adapter}`,
        ...{ route: '/', backend: 'x', latency_ms: 1 },
      }
      const columns = Object.keys(row)
      return db.prepare(`INSERT INTO usage (${columns}) VALUES (${columns.map(() => '?')})`).bind(...Object.values(row))
    }),
  )
}

/** What tenants and the operator are told, however they ask for sums. */
function answers(): Promise<string[]> {
  const groups = ['day,adapter', 'outcome', 'key,base', 'digest,day,key,outcome,base', 'tenant']
  const days = ['', '&from=2026-03-16', '&to=2026-03-16', '&from=2026-03-16&to=2026-03-18']
  const queries = groups.flatMap((group) => days.map((range) => `?group_by=${group}${range}`))
  const asked = [
    ...TENANTS.map((tenant) => [keyOf(tenant), '/v1/usage'] as const),
    ...['', '&tenant=reused', '&tenant=deleted'].map((one) => [ADMIN_KEY, `/admin/v1/usage`, one] as const),
  ]
  return Promise.all(
    asked.flatMap(([key, path, more = '']) =>
      queries.map(async (query) => `${key}${query}${more} ${await (await edge.call(key, path + query + more)).text()}`),
    ),
  )
}

const kept = (where = '1', db = edge.db) =>
  db.prepare(`SELECT COUNT(*) AS n FROM usage WHERE ${where}`).first<number>('n')

test('every sum is the same before old records are summed up, after, and with records that came too late', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(record, { maxLength: 60 }), async (records) => {
      await edge.db.batch(['usage', 'usage_days'].map((table) => edge.db.prepare(`DELETE FROM ${table}`)))
      await insert(records)
      const before = await answers()
      await edge.sweep(NOON)
      expect(await kept(`started_ms < ${FIRST_KEPT}`)).toBe(0)
      expect(await kept()).toBe(records.filter(({ started_ms }) => started_ms >= FIRST_KEPT).length)
      expect(await answers()).toEqual(before)
      await insert(records.filter((_, i) => i % 3 === 0))
      const withLate = await answers()
      await edge.sweep(NOON)
      expect(await kept(`started_ms < ${FIRST_KEPT}`)).toBe(0)
      expect(await answers()).toEqual(withLate)
    }),
    { numRuns: 12 },
  )
})

test('single requests are refused for days of which only sums are kept, and told from when they are', async () => {
  const [one] = fc.sample(record, { numRuns: 1, seed: 1 })
  const at = (day: string) => ({ ...one!, tenant: 'early', started_ms: Date.parse(`${day}T09:00:00Z`) })
  await insert([at('2026-03-14'), at('2026-03-17'), at('2026-03-18')])
  await edge.sweep(NOON)
  const ask = (range: string) => edge.call(keyOf('early'), `/v1/usage?group_by=request${range}`)
  for (const range of ['', '&from=2026-03-17', '&to=2026-03-15']) {
    const refused = await ask(range)
    expect(refused.status).toBe(400)
    expect(await refused.json()).toMatchObject({ error: { code: 'records_summed_up', param: 'from' } })
  }
  expect(((await (await ask('')).json()) as { error: { message: string } }).error.message).toBe(
    'Up to 2026-03-17 sums are kept, and no single requests: ask with from=2026-03-18, or with another group_by.',
  )
  for (const range of ['&from=2026-03-18', '&from=2026-03-15&to=2026-03-16'])
    expect((await ask(range)).status).toBe(200)
})

test('an export that is overtaken by the sums breaks off instead of lacking what they hold', async () => {
  const many = `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5001)
    INSERT INTO usage (request_id, tenant, key_id, route, base, prompt_tokens, cached_tokens, completion_tokens,
      backend, outcome, started_ms, latency_ms)
    SELECT 'read' || i, 'early', 'k', '/', 'b', 1, 0, 2, 'x', 'complete', ${FIRST_KEPT} - i, 1 FROM n`
  await edge.db.prepare(many).run()
  const scope = { tenant: 'early', since: undefined, hasBackends: true }
  const { pages } = await queryUsage(edge.db, scope, { group_by: 'request', format: 'jsonl' })
  let read = 0
  const readAll = async () => {
    for await (const rows of pages) {
      read += rows.length
      while (await kept()) await edge.sweep(NOON)
    }
  }
  await expect(readAll()).rejects.toMatchObject({ code: 'records_summed_up' })
  expect(read).toBe(5000)
})

test('more old records than one sweep takes are summed up by the next, within what one invocation may ask', async () => {
  const many = `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)
    INSERT INTO usage (request_id, tenant, key_id, route, base, prompt_tokens, cached_tokens, completion_tokens,
      backend, outcome, started_ms, latency_ms, price_nano)
    SELECT 'many' || i, 'tenant-' || (i % 80), 'k', '/', 'b', 1, 0, 2, 'x', 'complete', i, 1, i FROM n`
  await edge.db.batch([
    edge.db.prepare(many),
    edge.db.prepare("UPDATE usage SET tenant = 'large' WHERE CAST(SUBSTR(request_id, 5) AS INTEGER) > 1000"),
  ])
  const sums = async () => (await edge.admin('GET', '/usage?group_by=outcome')).body.data
  for (let sweeps = 1; (await kept()) !== 0; sweeps++) {
    expect(sweeps).toBeLessThan(10)
    await edge.sweep(NOON)
    expect(await sums()).toMatchObject([{ requests: 12_000, completion_tokens: 24_000, price_nano: 72_006_000 }])
  }
  expect(edge.logs.filter((line) => line.includes('limit_exceeded') || line.includes('sweep_failed'))).toEqual([])
})

test('every record stays where nothing says for how long', async () => {
  const records = fc.sample(record, { numRuns: 20, seed: 2 })
  await insert(records, keepingAll.db)
  await keepingAll.sweep(NOON + 4000 * DAY_MS)
  expect(await kept('1', keepingAll.db)).toBe(20)
})
