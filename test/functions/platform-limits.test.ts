import { afterAll, expect, test } from 'vitest'
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
