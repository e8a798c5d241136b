// API keys in D1. A key is made here, shown once, and stored only as its sha256 and the few characters it begins with.
import * as z from 'zod/mini'
import { hashKey } from '../auth/api-key.ts'

const KeyRow = z.object({
  id: z.string(),
  prefix: z.string(),
  scopes: z.string(),
  created_ms: z.number(),
  expires_ms: z.nullable(z.number()),
  revoked_ms: z.nullable(z.number()),
})
export type KeyRow = z.infer<typeof KeyRow>

const SECRET_BYTES = 24
const PREFIX_CHARS = 10

interface NewKey {
  readonly tenant: string
  readonly scopes: readonly string[]
  readonly expiresMs: number | null
  readonly nowMs: number
}

/** Makes and stores a key; `key` is in the answer and nowhere else. */
export async function createKey(db: D1Database, { tenant, scopes, expiresMs, nowMs }: NewKey) {
  const secret = crypto.getRandomValues(new Uint8Array(SECRET_BYTES))
  const key = `pl-${base64Url(secret)}`
  const row: KeyRow = {
    id: `key_${crypto.randomUUID().replaceAll('-', '').slice(0, 16)}`,
    prefix: key.slice(0, PREFIX_CHARS),
    scopes: scopes.join(' '),
    created_ms: nowMs,
    expires_ms: expiresMs,
    revoked_ms: null,
  }
  await db
    .prepare(
      'INSERT INTO api_keys (id, hash, prefix, tenant, scopes, created_ms, expires_ms) VALUES (?, ?, ?, ?, ?, ?, ?)',
    )
    .bind(row.id, await hashKey(key), row.prefix, tenant, row.scopes, nowMs, expiresMs)
    .run()
  return { key, row }
}

export async function listKeys(db: D1Database, tenant: string): Promise<KeyRow[]> {
  const { results } = await db
    .prepare(
      `SELECT id, prefix, scopes, created_ms, expires_ms, revoked_ms FROM api_keys
       WHERE tenant = ? ORDER BY created_ms, id`,
    )
    .bind(tenant)
    .all()
  return z.array(KeyRow).parse(results)
}

export async function tryGetKey(db: D1Database, tenant: string, id: string): Promise<KeyRow | undefined> {
  return (await listKeys(db, tenant)).find((row) => row.id === id)
}

/** The key ends at `atMs`, or when it would have ended anyway. False where there is no such key. */
export async function expireKey(db: D1Database, tenant: string, id: string, atMs: number): Promise<boolean> {
  const result = await db
    .prepare('UPDATE api_keys SET expires_ms = MIN(IFNULL(expires_ms, ?1), ?1) WHERE tenant = ?2 AND id = ?3')
    .bind(atMs, tenant, id)
    .run()
  return result.meta.changes > 0
}

/** False where there is no such key. */
export async function revokeKey(db: D1Database, tenant: string, id: string, nowMs: number): Promise<boolean> {
  const result = await db
    .prepare('UPDATE api_keys SET revoked_ms = IFNULL(revoked_ms, ?) WHERE tenant = ? AND id = ?')
    .bind(nowMs, tenant, id)
    .run()
  return result.meta.changes > 0
}

function base64Url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
}
