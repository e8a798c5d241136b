import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ADMIN_KEY, startEdge } from '../support/edge-harness.ts'
import { BACKEND_SECRET, ProtocolBackend } from '../support/protocol-backend.ts'

const HOUR_MS = 3_600_000
const BACKENDS = 8

const backends = await Promise.all(Array.from({ length: BACKENDS }, () => new ProtocolBackend().listen()))
const edge = await startEdge(
  backends.map(({ url }) => url),
  { POLYLORA_BACKEND_SECRET: BACKEND_SECRET, POLYLORA_ADMIN_KEY: ADMIN_KEY },
  { bounded: true },
)
afterAll(async () => {
  await edge.close()
  for (const backend of backends) await backend.close()
})

const firstOverrun = () => edge.logs.find((line) => line.includes('limit_exceeded'))
const count = (table: string, where: string) =>
  edge.db.prepare(`SELECT COUNT(*) AS n FROM ${table} WHERE ${where}`).first<number>('n')

/** A tenant with so many names and versions, without their bytes: what is counted is what is asked of the platform. */
async function addCrowd(
  tenant: string,
  { names, versions, prefix = 'bot-' }: { names: number; versions: number; prefix?: string },
): Promise<void> {
  await edge.addTenant(tenant, `key-${tenant}`)
  const numbers = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < CAST(?1 AS INTEGER))'
  const seed = [...tenant].reduce((sum, char) => sum * 31 + char.charCodeAt(0), 7) % 1_000_000
  await edge.db.batch([
    edge.db
      .prepare(
        `${numbers} INSERT INTO versions (tenant, name, digest, bytes, header, ready, created_ms)
         SELECT ?2, ?5 || (i % CAST(?3 AS INTEGER)), 'sha256:' || printf('%032x%032x', CAST(?4 AS INTEGER), i), 1, '{}', 1, i FROM n`,
      )
      .bind(versions, tenant, names, seed, prefix),
    edge.db
      .prepare(
        'INSERT INTO aliases (tenant, name, digest, updated_ms) SELECT tenant, name, MAX(digest), 1 FROM versions WHERE tenant = ? GROUP BY name',
      )
      .bind(tenant),
  ])
}

test('a name with more versions than R2 deletes at once is deleted, and what it leaves by the sweep', async () => {
  await addCrowd('daily', { names: 1, versions: 1100 })
  const response = await edge.call('key-daily', '/v1/adapters/daily/bot-0', { method: 'DELETE' })
  expect(response.status).toBe(200)
  expect(((await response.json()) as { erased: string[] }).erased).toHaveLength(1100)
  expect(await count('versions', "tenant = 'daily'")).toBe(0)
  expect(firstOverrun()).toBeUndefined()
  for (let hour = 1; (await count('erasures', "tenant = 'daily'")) !== 0; hour++) {
    expect(hour).toBeLessThan(30)
    await edge.sweep(Date.now() + hour * HOUR_MS)
  }
  expect(firstOverrun()).toBeUndefined()
})

test('a tenant whose receipt is longer than a row of D1 is deleted, and its receipt is whole', async () => {
  await addCrowd('wholesale', { names: 10_000, versions: 30_000 })
  const { status, body } = await edge.admin('DELETE', '/tenants/wholesale')
  expect(status).toBe(200)
  expect(firstOverrun()).toBeUndefined()
  expect([body.adapters, body.objects, body.objects_later].map((list) => (list as string[]).length)).toEqual([
    10_000, 100, 29_900,
  ])
  const receipts = await edge.admin('GET', '/tenants/wholesale/receipts')
  expect(receipts.body.data).toEqual([body])
})

test('a tenant with many uploads that were never completed is deleted, and their parts by the sweep', async () => {
  await edge.addTenant('restless', 'key-restless')
  const uploads = Array.from({ length: 1100 }, (_, i) => `sha256:${i.toString(16).padStart(64, '0')}`)
  const note = edge.db.prepare('INSERT INTO uploads (tenant, digest, due_ms) VALUES (?, ?, ?)')
  await edge.db.batch(uploads.map((digest) => note.bind('restless', digest, Date.now() + 24 * HOUR_MS)))
  const { status, body } = await edge.admin('DELETE', '/tenants/restless')
  expect(status).toBe(200)
  expect(body.uploads).toEqual(uploads)
  expect(firstOverrun()).toBeUndefined()
  await edge.sweep(Date.now() + 2 * HOUR_MS)
  expect(await count('uploads', "tenant = 'restless'")).toBeLessThan(1100)
  expect(firstOverrun()).toBeUndefined()
})

test('one sweep that finds several deletions half done stays within what one invocation may ask', async () => {
  const tenants = ['half-one', 'half-two', 'half-three', 'half-four', 'half-five']
  for (const tenant of tenants) await addCrowd(tenant, { names: 50, versions: 150 })
  await edge.db.prepare("UPDATE tenants SET deleting_ms = 1 WHERE id LIKE 'half-%'").run()
  for (let hour = 1; (await count('tenants', "id LIKE 'half-%'")) !== 0; hour++) {
    expect(hour).toBeLessThan(30)
    await edge.sweep(Date.now() + hour * HOUR_MS)
    expect(firstOverrun()).toBeUndefined()
  }
})

test('what many backends hold is asked of a few at a time', async () => {
  for (const [key, path] of [
    ['key-daily', '/v1/residency'],
    [ADMIN_KEY, '/admin/v1/residency'],
  ] as const) {
    const { data } = (await (await edge.call(key, path)).json()) as { data: { reachable: boolean }[] }
    expect(data.map(({ reachable }) => reachable)).toEqual(backends.map(() => true))
  }
  expect(firstOverrun()).toBeUndefined()
})

test('the operator sees what backends hold however many versions everybody has', async () => {
  const tenant = 'x'.repeat(64)
  await addCrowd(tenant, { names: 1, versions: 230_000, prefix: 'y'.repeat(60) })
  await edge.addTenant('small', 'key-small')
  const digest = await edge.publish('key-small', 'small/bot')
  for (const backend of backends) backend.deltas.set(digest, Buffer.alloc(1))
  const { status, body } = await edge.admin('GET', '/residency')
  expect(firstOverrun()).toBeUndefined()
  expect(status).toBe(200)
  expect((body.data as { adapters: object[] }[])[0]!.adapters).toEqual([
    expect.objectContaining({ digest, names: ['small/bot'] }),
  ])
})

describe('50,000 records of usage', () => {
  beforeAll(async () => {
    for (const tenant of ['busy', 'calm']) await edge.addTenant(tenant, `key-${tenant}`)
    await edge.db
      .prepare(
        `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)
         INSERT INTO usage (request_id, tenant, key_id, route, adapter, digest, base, prompt_tokens, cached_tokens,
           completion_tokens, backend, outcome, started_ms, latency_ms)
         SELECT printf('req_%032x', i * 7919 % 50021), CASE i % 2 WHEN 0 THEN 'busy' ELSE 'calm' END, 'key_0123456789abcdef',
           '/v1/chat/completions', 'bot', printf('sha256:%064x', i), printf('sha256:%064x', 1), i, 0, 1,
           'https://gpu.example.com', 'complete', ?1 + i / 7, 5 FROM n`,
      )
      .bind(Date.now() + 1000)
      .run()
  })

  test.each([
    ['everybody’s', '', 50_000],
    ['one tenant’s', '&tenant=busy', 25_000],
  ])('are given whole and in order, read in pieces: %s', async (_, filter, expected) => {
    const ask = (format: string) =>
      edge.call(ADMIN_KEY, `/admin/v1/usage?group_by=request&format=${format}${filter}`).then((answer) => answer.text())
    const { data } = JSON.parse(await ask('json')) as { data: Record<string, string | number>[] }
    expect(firstOverrun()).toBeUndefined()
    const place = (row: (typeof data)[number]) => `${row.tenant} ${row.started_ms} ${row.request_id}`
    expect(new Set(data.map(({ request_id: id }) => id)).size).toBe(expected)
    expect(data.map(place)).toEqual(data.map(place).toSorted())
    const lines = (await ask('jsonl')).trim().split('\n')
    expect(lines.map((line) => place(JSON.parse(line)))).toEqual(data.map(place))
    const [header, ...cells] = (await ask('csv')).trim().split('\r\n')
    expect(header).toBe(Object.keys(data[0]!).join(','))
    expect(cells.map((line) => line.split(',')[0])).toEqual(data.map(({ request_id: id }) => id))
  })
})
