// `/admin/v1/tenants/{tenant}/keys`: a tenant's API keys. A key's secret is in the answer that makes it, and nowhere else.
import { Hono } from 'hono'
import * as z from 'zod/mini'
import { Scope } from '../auth/scope.ts'
import type { EdgeEnv } from '../edge-env.ts'
import { ApiError } from '../errors.ts'
import { createKey, type KeyRow, listKeys, revokeKey, tryGetKey, tryRotateKey } from '../registry/keys.ts'
import type { ApiKey, NewApiKey, RotatedKey } from './account-answers.ts'
import { NewKey, Rotation } from './admin-requests.ts'
import { getLiveTenant, getTenant, MAX_ADMIN_BYTES } from './admin-tenant.ts'
import { readJson } from './read-json.ts'

export const adminKeys = new Hono<EdgeEnv>()
  .get('/:tenant/keys', async (c) => {
    const { id } = await getTenant(c.env.DB, c.req.param('tenant'))
    return c.json({ object: 'list', data: (await listKeys(c.env.DB, id)).map(describeKey) })
  })
  .post('/:tenant/keys', async (c) => {
    const { id } = await getLiveTenant(c.env.DB, c.req.param('tenant'))
    const { scopes, expires_ms: expiresMs } = await readJson(c.req.raw, NewKey, MAX_ADMIN_BYTES)
    const { key, row } = await createKey(c.env.DB, { tenant: id, scopes, expiresMs, nowMs: Date.now() })
    return c.json<NewApiKey, 201>({ ...describeKey(row), key }, 201)
  })
  .post('/:tenant/keys/:key/rotate', async (c) => {
    const { id } = await getLiveTenant(c.env.DB, c.req.param('tenant'))
    const { overlap_seconds: overlap } = await readJson(c.req.raw, Rotation, MAX_ADMIN_BYTES)
    const oldId = c.req.param('key')
    const nowMs = Date.now()
    const rotated = await tryRotateKey(c.env.DB, id, oldId, { nowMs, overlapUntilMs: nowMs + overlap * 1000 })
    if (!rotated) {
      const old = await tryGetKey(c.env.DB, id, oldId)
      throw old && old.revoked_ms === null ? keyEnded(oldId) : keyNotFound()
    }
    return c.json<RotatedKey, 201>({ ...describeKey(rotated.row), key: rotated.key, replaces: oldId }, 201)
  })
  .delete('/:tenant/keys/:key', async (c) => {
    const { id } = await getTenant(c.env.DB, c.req.param('tenant'))
    if (!(await revokeKey(c.env.DB, id, c.req.param('key'), Date.now()))) throw keyNotFound()
    return c.body(null, 204)
  })

function describeKey({ scopes, ...row }: KeyRow): ApiKey {
  return { object: 'api_key', ...row, scopes: z.array(Scope).parse(scopes.split(' ')) }
}

function keyNotFound(): ApiError {
  return new ApiError(404, 'key_not_found', 'This tenant has no such key.')
}

function keyEnded(id: string): ApiError {
  return new ApiError(
    409,
    'key_ended',
    `The key '${id}' has expired or was replaced already: rotate the one that replaced it, or create a new one.`,
  )
}
