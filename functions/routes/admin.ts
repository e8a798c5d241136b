// `/admin/v1`: the operator's API. Tenants, their terms, balance and keys; everybody's usage. Opened by POLYLORA_ADMIN_KEY.
import { Hono } from 'hono'
import { requireAdmin } from '../auth/admin-key.ts'
import type { EdgeEnv } from '../env.ts'
import { ApiError, adapterNotFound } from '../errors.ts'
import { readJson } from '../read-json.ts'
import { listAdapters } from '../registry/adapters.ts'
import { createKey, expireKey, type KeyRow, listKeys, revokeKey, tryGetKey } from '../registry/keys.ts'
import { queryLatency } from '../registry/latency.ts'
import { setMayLeave } from '../registry/may-leave.ts'
import { objectKey } from '../registry/objects.ts'
import { eraseOrphans } from '../registry/orphans.ts'
import { publishedAs } from '../registry/published-as.ts'
import {
  beginDeletion,
  changeTerms,
  createTenant,
  listTenants,
  removeTenant,
  type TenantRow,
  tryGetTenant,
} from '../registry/tenants.ts'
import { queryUsage } from '../registry/usage.ts'
import { LatencyQuery, UsageQuery } from '../registry/usage-query.ts'
import { evictEverywhere } from '../router/evict.ts'
import { askResidency } from '../router/residency.ts'
import { describeAdapter } from './adapter-path.ts'
import { adminBrowser } from './admin-browser.ts'
import { AdapterTerms, Credit, NewKey, NewTenant, Rotation, TermsChange } from './admin-requests.ts'
import { describeResidency } from './residency.ts'
import { parseUsageQuery, usageResponse } from './usage.ts'

const MAX_ADMIN_BYTES = 64 * 1024

export const admin = new Hono<EdgeEnv>()

admin.use(async (c, next) => {
  await requireAdmin(c.var.edge.config.adminKey, c.req.header('authorization'))
  await next()
  // What was changed counts at once here; other isolates follow within seconds.
  if (c.req.method === 'GET') return
  c.var.edge.authenticator.forget()
  c.var.edge.aliases.forget()
})

admin.route('/browser', adminBrowser)

admin
  .get('/tenants', async (c) => c.json({ object: 'list', data: (await listTenants(c.env.DB)).map(describeTenant) }))
  .post('/tenants', async (c) => {
    const { id, ...terms } = await readJson(c.req.raw, NewTenant, MAX_ADMIN_BYTES)
    if (!(await createTenant(c.env.DB, id, Date.now()))) {
      throw new ApiError(409, 'tenant_exists', `The tenant '${id}' exists already.`, { param: 'id' })
    }
    await changeTerms(c.env.DB, id, terms)
    return c.json(describeTenant(await getTenant(c.env.DB, id)), 201)
  })
  .get('/tenants/:tenant', async (c) => {
    const tenant = await getTenant(c.env.DB, c.req.param('tenant'))
    return c.json({ ...describeTenant(tenant), ...(await meterOf(c.env, tenant.id).balance()) })
  })
  .patch('/tenants/:tenant', async (c) => {
    const { id } = await getTenant(c.env.DB, c.req.param('tenant'))
    await changeTerms(c.env.DB, id, await readJson(c.req.raw, TermsChange, MAX_ADMIN_BYTES))
    return c.json(describeTenant(await getTenant(c.env.DB, id)))
  })
  .delete('/tenants/:tenant', async (c) => {
    const { id } = await getTenant(c.env.DB, c.req.param('tenant'))
    const erased = await beginDeletion(c.env.DB, id, Date.now())
    c.var.edge.authenticator.forget()
    const orphans = await eraseOrphans(c.env.DB, c.var.edge.cachedObjects, erased.digests, Date.now())
    const evicted = await evictEverywhere(c.var.edge, { tenant: id, requestId: c.var.requestId, digests: orphans })
    await meterOf(c.env, id).erase()
    // Last, so that a deletion that breaks off is repeated as a whole.
    await removeTenant(c.env.DB, id, Date.now())
    return c.json({
      id,
      object: 'tenant.deleted',
      deleted: true,
      erased_ms: Date.now(),
      keys: erased.keys,
      adapters: erased.adapters,
      // A digest that another tenant published too stays for that tenant.
      objects: orphans.map((digest) => objectKey('deltas', digest)),
      // One that failed is asked again by the sweep, until it answers.
      backend_caches: evicted,
      kept: 'usage records',
    })
  })
  .post('/tenants/:tenant/credits', async (c) => {
    const { id } = await getTenant(c.env.DB, c.req.param('tenant'))
    const credit = await readJson(c.req.raw, Credit, MAX_ADMIN_BYTES)
    const balance = await meterOf(c.env, id).credit(credit.id, credit.amount_nano, Date.now())
    return c.json({ tenant: id, balance_nano: balance })
  })
  .get('/tenants/:tenant/adapters', async (c) => {
    const { id } = await getTenant(c.env.DB, c.req.param('tenant'))
    const rows = await listAdapters(c.env.DB, id)
    return c.json({ object: 'list', data: rows.map((row) => describeAdapter(id, row)) })
  })
  .patch('/tenants/:tenant/adapters/:name', async (c) => {
    const { id } = await getTenant(c.env.DB, c.req.param('tenant'))
    const name = c.req.param('name')
    const { may_leave: mayLeave } = await readJson(c.req.raw, AdapterTerms, MAX_ADMIN_BYTES)
    if (!(await setMayLeave(c.env.DB, { tenant: id, name }, mayLeave))) throw adapterNotFound(`${id}/${name}`)
    return c.json({ id: `${id}/${name}`, object: 'adapter', may_leave: mayLeave })
  })
  .get('/tenants/:tenant/keys', async (c) => {
    const { id } = await getTenant(c.env.DB, c.req.param('tenant'))
    return c.json({ object: 'list', data: (await listKeys(c.env.DB, id)).map(describeKey) })
  })
  .post('/tenants/:tenant/keys', async (c) => {
    const { id } = await getTenant(c.env.DB, c.req.param('tenant'))
    const { scopes, expires_ms: expiresMs } = await readJson(c.req.raw, NewKey, MAX_ADMIN_BYTES)
    const { key, row } = await createKey(c.env.DB, { tenant: id, scopes, expiresMs, nowMs: Date.now() })
    return c.json({ ...describeKey(row), key }, 201)
  })
  .post('/tenants/:tenant/keys/:key/rotate', async (c) => {
    const { id } = await getTenant(c.env.DB, c.req.param('tenant'))
    const { overlap_seconds: overlap } = await readJson(c.req.raw, Rotation, MAX_ADMIN_BYTES)
    const old = await tryGetKey(c.env.DB, id, c.req.param('key'))
    if (!old || old.revoked_ms !== null) throw keyNotFound()
    const nowMs = Date.now()
    const renewed = { tenant: id, scopes: old.scopes.split(' '), expiresMs: old.expires_ms, nowMs }
    const { key, row } = await createKey(c.env.DB, renewed)
    await expireKey(c.env.DB, id, old.id, nowMs + overlap * 1000)
    return c.json({ ...describeKey(row), key, replaces: old.id }, 201)
  })
  .delete('/tenants/:tenant/keys/:key', async (c) => {
    const { id } = await getTenant(c.env.DB, c.req.param('tenant'))
    if (!(await revokeKey(c.env.DB, id, c.req.param('key'), Date.now()))) throw keyNotFound()
    return c.body(null, 204)
  })
  .get('/usage', async (c) => {
    const { tenant, ...parameters } = c.req.query()
    const query = parseUsageQuery(UsageQuery, { group_by: 'tenant,day', ...parameters })
    return usageResponse(query, await queryUsage(c.env.DB, tenant, query))
  })
  .get('/usage/latency', async (c) => {
    const { tenant, ...parameters } = c.req.query()
    const query = parseUsageQuery(LatencyQuery, parameters)
    return c.json({ object: 'list', data: await queryLatency(c.env.DB, tenant, query) })
  })
  .get('/residency', async (c) => {
    const [backends, names] = await Promise.all([
      askResidency(c.var.edge, { tenant: 'operator', requestId: c.var.requestId }),
      publishedAs(c.env.DB, undefined),
    ])
    const data = backends.map((backend) => ({ backend: backend.url, ...describeResidency(backend, names, true) }))
    return c.json({ object: 'list', data })
  })

async function getTenant(db: D1Database, id: string): Promise<TenantRow> {
  const tenant = await tryGetTenant(db, id)
  if (!tenant) throw new ApiError(404, 'tenant_not_found', `There is no tenant '${id}'.`)
  return tenant
}

function meterOf(env: EdgeEnv['Bindings'], tenant: string) {
  return env.METER.get(env.METER.idFromName(tenant))
}

function describeTenant(tenant: TenantRow) {
  return { object: 'tenant', ...tenant }
}

function describeKey({ scopes, ...row }: KeyRow) {
  return { object: 'api_key', ...row, scopes: scopes.split(' ') }
}

function keyNotFound(): ApiError {
  return new ApiError(404, 'key_not_found', 'This tenant has no such key.')
}
