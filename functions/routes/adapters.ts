// `/v1/adapters`: publish, show, list and delete a tenant's adapters. Bytes pass through, never gathered in memory.
// Invariant: a name points only at one of its own versions; publish-delta.ts says which versions there can be.
import { type Context, Hono } from 'hono'
import type { Digest } from '../../gpu-backend/protocol.ts'
import { requireScope } from '../auth/api-key.ts'
import type { EdgeEnv } from '../edge-env.ts'
import { ApiError, adapterNotFound } from '../errors.ts'
import {
  type AliasRow,
  deleteAdapter,
  listAdapters,
  listVersions,
  moveAlias,
  setCanary,
  setReport,
  tryGetAdapter,
  tryGetAlias,
  tryGetReport,
} from '../registry/adapters.ts'
import { WHOLE_WEIGHT } from '../registry/canary.ts'
import { tryGetDelta } from '../registry/may-leave.ts'
import { type AdapterName, fullName } from '../registry/names.ts'
import { MAX_DELTA_BYTES } from '../registry/objects.ts'
import { eraseOrphans, FILES_AT_ONCE } from '../registry/orphans.ts'
import { evictEverywhere } from '../router/evict.ts'
import type { Adapter, AdapterDeleted } from './adapter-answers.ts'
import { ownAdapter } from './adapter-path.ts'
import { AliasMove, Canary, Report } from './adapter-requests.ts'
import { describeAdapter, describeVersion } from './describe-adapter.ts'
import { publishDelta } from './publish-delta.ts'
import { readOwnJson } from './read-own-json.ts'
import { sendFile } from './send-file.ts'
import { declaredBytes, parseDigest } from './upload-headers.ts'
import { uploads } from './uploads.ts'

/** The largest is a publisher's report, kept for each version in the database that all tenants share: of 126 layers it has some 50 kB. */
const MAX_JSON_BYTES = 64 * 1024

export const adapters = new Hono<EdgeEnv>()

adapters.use(async (c, next) => {
  await next()
  // What was changed counts at once here; other isolates follow within seconds.
  if (c.req.method !== 'GET') c.var.edge.aliases.forget()
})

adapters
  .get('/', async (c) => {
    const { tenant } = c.var.principal
    const rows = await listAdapters(c.env.DB, tenant)
    return c.json({ object: 'list', data: rows.map((row) => describeAdapter(tenant, row)) })
  })
  .get('/:tenant/:name', (c) => show(c, ownAdapter(c)))
  .get('/:tenant/:name/versions/:digest/delta', async (c) => {
    requireScope(c.var.principal, 'inference')
    const adapter = ownAdapter(c)
    const digest = parseDigest(c.req.param('digest'), 'digest')
    const delta = await tryGetDelta(c.env.DB, adapter, digest)
    if (!delta) throw noSuchVersion(adapter, digest)
    if (delta.mayLeave) return sendFile(c.req.raw, c.var.edge.objects, { digest, bytes: delta.bytes })
    throw new ApiError(
      403,
      'adapter_may_not_leave',
      `'${fullName(adapter)}' may not be downloaded: the operator has to allow it for this adapter.`,
    )
  })
  .put('/:tenant/:name', publish)
  .route('/:tenant/:name/uploads', uploads)
  .put('/:tenant/:name/versions/:digest/report', async (c) => {
    requireScope(c.var.principal, 'adapters')
    const adapter = ownAdapter(c)
    const digest = parseDigest(c.req.param('digest'), 'digest')
    const report = await readOwnJson(c, Report, MAX_JSON_BYTES)
    const found = await setReport(c.env.DB, adapter, digest, JSON.stringify(report))
    if (!found) throw noSuchVersion(adapter, digest)
    return c.body(null, 204)
  })
  .put('/:tenant/:name/alias', async (c) => {
    requireScope(c.var.principal, 'adapters')
    const adapter = ownAdapter(c)
    const { digest, from } = await readOwnJson(c, AliasMove, MAX_JSON_BYTES)
    const alias = await getAlias(c.env.DB, adapter)
    return move(c, adapter, from ?? alias.digest, digest)
  })
  .post('/:tenant/:name/rollback', async (c) => {
    requireScope(c.var.principal, 'adapters')
    const adapter = ownAdapter(c)
    const alias = await getAlias(c.env.DB, adapter)
    if (alias.previous_digest) return move(c, adapter, alias.digest, alias.previous_digest)
    throw new ApiError(409, 'no_previous_version', `'${fullName(adapter)}' has never pointed at another version.`)
  })
  .put('/:tenant/:name/canary', async (c) => {
    requireScope(c.var.principal, 'adapters')
    const adapter = ownAdapter(c)
    const { digest, weight } = await readOwnJson(c, Canary, MAX_JSON_BYTES)
    await getAlias(c.env.DB, adapter)
    const split = { digest, weight: Math.round(weight * WHOLE_WEIGHT), nowMs: Date.now() }
    if (!(await setCanary(c.env.DB, adapter, split))) throw noSuchVersion(adapter, digest)
    return show(c, adapter)
  })
  .delete('/:tenant/:name/canary', async (c) => {
    requireScope(c.var.principal, 'adapters')
    const adapter = ownAdapter(c)
    await getAlias(c.env.DB, adapter)
    await setCanary(c.env.DB, adapter, { digest: null, weight: 0, nowMs: Date.now() })
    return show(c, adapter)
  })
  .delete('/:tenant/:name', async (c) => {
    requireScope(c.var.principal, 'adapters')
    const adapter = ownAdapter(c)
    if (!(await tryGetAdapter(c.env.DB, adapter))) throw adapterNotFound(fullName(adapter))
    const { digests, gone } = await deleteAdapter(c.env.DB, adapter, Date.now())
    const now = digests.slice(0, FILES_AT_ONCE)
    const orphans = await eraseOrphans(c.env.DB, c.var.edge.cachedObjects, now, Date.now())
    const erased = orphans.erased.map((digest) => ({ tenant: adapter.tenant, digest }))
    c.executionCtx.waitUntil(evictEverywhere(c.var.edge, c.var.requestId, erased))
    // Whether somebody else has the same bytes is nobody's business.
    return c.json<AdapterDeleted>({ id: fullName(adapter), object: 'adapter.deleted', deleted: true, erased: gone })
  })

async function show(c: Context<EdgeEnv>, adapter: AdapterName): Promise<Response> {
  const row = await tryGetAdapter(c.env.DB, adapter)
  if (!row) throw adapterNotFound(fullName(adapter))
  const [versions, report] = await Promise.all([
    listVersions(c.env.DB, adapter),
    tryGetReport(c.env.DB, adapter, row.digest),
  ])
  return c.json<Adapter>({
    ...describeAdapter(adapter.tenant, row),
    previous_digest: row.previous_digest,
    canary: row.canary_digest === null ? null : { digest: row.canary_digest, weight: row.canary_weight / WHOLE_WEIGHT },
    report: report === null ? null : JSON.parse(report),
    versions: versions.map((version) => describeVersion(adapter, version)),
  })
}

async function getAlias(db: D1Database, adapter: AdapterName): Promise<AliasRow> {
  const alias = await tryGetAlias(db, adapter)
  if (!alias) throw adapterNotFound(fullName(adapter))
  return alias
}

async function move(c: Context<EdgeEnv>, adapter: AdapterName, from: Digest, to: Digest): Promise<Response> {
  if (await moveAlias(c.env.DB, adapter, { from, to, nowMs: Date.now() })) return show(c, adapter)
  const versions = await listVersions(c.env.DB, adapter)
  if (!versions.some(({ digest }) => digest === to)) throw noSuchVersion(adapter, to)
  throw new ApiError(409, 'alias_moved', `'${fullName(adapter)}' points at another version by now: look again.`)
}

function noSuchVersion(adapter: AdapterName, digest: Digest): ApiError {
  return new ApiError(404, 'version_not_found', `'${fullName(adapter)}' has no version ${digest}.`, { param: 'digest' })
}

async function publish(c: Context<EdgeEnv, '/:tenant/:name'>): Promise<Response> {
  requireScope(c.var.principal, 'adapters')
  const adapter = ownAdapter(c)
  const digest = parseDigest(c.req.header('x-polylora-digest'), 'x-polylora-digest')
  const bytes = declaredBytes(c.req.header('content-length'), MAX_DELTA_BYTES, 'delta')
  const { body } = c.req.raw
  if (!body) throw new ApiError(400, 'empty_body', 'The request has no body: send the canonical delta file.')
  return publishDelta(c, adapter, { digest, bytes, body })
}
