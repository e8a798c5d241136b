// What must be true once everything has come to rest: of the books, the registry, the object store and the backends.
import { expect } from 'vitest'
import { waitFor } from '../../support/edge-harness.ts'
import type { TenantState } from './model.ts'
import type { Run } from './run.ts'

const HOUR_MS = 3_600_000
/** When the sweep has done all that it ever will. */
const SWEEPS_MS = [1, 30, 31, 8 * 24, 8 * 24 + 1].map((hours) => hours * HOUR_MS)

type Row = Readonly<Record<string, string | number | null>>

export async function audit(run: Run): Promise<void> {
  for (let next = run.pending.shift(); next; next = run.pending.shift()) await next.finish()
  for (const tenant of [...run.deleted, ...run.tenants]) await auditBooks(run, tenant)
  await auditStores(run)
  const [edge] = run.world.edges
  for (const { id } of run.tenants) expect((await edge.admin('DELETE', `/tenants/${id}`)).status).toBe(200)
  expect(await auditStores(run), 'when all are deleted').toEqual([])
}

async function auditBooks({ world }: Run, tenant: TenantState): Promise<void> {
  const [edge, other] = world.edges
  const read = edge.db.prepare('SELECT * FROM usage WHERE tenant = ?').bind(tenant.id)
  const answered = new Set(tenant.answered.map(({ requestId }) => requestId))
  const records = await waitFor(async () => {
    const { results } = await read.all<Row>()
    return answered.isSubsetOf(new Set(results.map((row) => String(row.request_id)))) && results
  })
  const byId = new Map(records.map((row) => [row.request_id, row]))
  for (const { requestId, adapter, digest, prompt, cached, completion, priceNano } of tenant.answered) {
    expect(byId.get(requestId)).toMatchObject({
      ...{ outcome: 'complete', adapter, digest, prompt_tokens: prompt, cached_tokens: cached },
      ...{ completion_tokens: completion, price_nano: priceNano },
    })
  }
  if (tenant.deletedMs !== undefined) return
  const credits = tenant.credits.values().reduce((sum, amount) => sum + amount, 0)
  // What was broken off is settled a moment later.
  const own = await waitFor(async () => {
    const { body } = await edge.admin('GET', `/tenants/${tenant.id}`)
    const rows = (await read.all<Row>()).results.filter((row) => Number(row.started_ms) >= Number(body.created_ms))
    return body.held_nano === 0 && body.balance_nano === credits - paidFor(rows) && rows
  })
  for (const { request_id: id, outcome, price_nano: price } of own) {
    if (!answered.has(String(id))) expect(tenant.unfinished).toContain(id)
    if (outcome === 'failed') expect(price).toBe(0)
  }
  const usage = await other.call(tenant.keys[0]!.secret, '/v1/usage?group_by=request')
  const { data } = (await usage.json()) as { data: Row[] }
  expect(data.map((row) => row.request_id).sort()).toEqual(own.map((row) => row.request_id).sort())
}

const paidFor = (rows: readonly Row[]) => rows.reduce((sum, row) => sum + Number(row.price_nano), 0)

/** After some sweeps nothing is there that nothing refers to, and all that something refers to. Returns the digests. */
async function auditStores({ world }: Run): Promise<string[]> {
  for (const ms of SWEEPS_MS) for (const edge of world.edges) await edge.sweep(Date.now() + ms)
  const { db } = world.edges[0]
  const rows = async (sql: string) => (await db.prepare(sql).all<Row>()).results
  const same = 'a.tenant = v.tenant AND a.name = v.name'
  const unnamed = `SELECT * FROM versions v WHERE NOT EXISTS (SELECT 1 FROM aliases a WHERE ${same})`
  const empty = `SELECT * FROM aliases a WHERE NOT EXISTS (SELECT 1 FROM versions v WHERE ${same} AND a.digest = v.digest)`
  expect(await rows('SELECT * FROM versions WHERE ready = 0'), 'claims').toEqual([])
  expect(await rows(unnamed), 'versions without a name').toEqual([])
  expect(await rows(empty), 'names without their version').toEqual([])
  expect(await rows('SELECT * FROM tenants WHERE deleting_ms IS NOT NULL')).toEqual([])
  for (const table of ['deletions', 'erasures', 'uploads']) expect(await rows(`SELECT * FROM ${table}`)).toEqual([])

  const digests = (await rows('SELECT DISTINCT digest FROM versions ORDER BY digest')).map((row) => String(row.digest))
  const objects = digests.map((digest) => `/bucket/deltas/${digest.replace(':', '/')}`)
  expect([...world.store.objects.keys()].sort(), 'objects').toEqual(objects)
  for (const { deltas } of world.backends) {
    expect([...new Set(deltas.keys()).difference(new Set(digests))], 'deltas on a backend').toEqual([])
  }
  return digests
}
