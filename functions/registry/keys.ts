// API keys in D1. A key is made here, shown once, and stored only as its sha256 and the few characters it begins with.
import * as z from 'zod/mini'
import { sha256Hex } from '../../adapters/digest.ts'

const KeyRow = z.object({
  id: z.string(),
  prefix: z.string(),
  scopes: z.string(),
  created_ms: z.number(),
  expires_ms: z.nullable(z.number()),
  revoked_ms: z.nullable(z.number()),
})
export type KeyRow = z.infer<typeof KeyRow>

const COLUMNS = Object.keys(KeyRow.shape).join(', ')

const SECRET_BYTES = 24
const PREFIX_CHARS = 10

interface NewKey {
  readonly tenant: string
  readonly scopes: readonly string[]
  readonly expiresMs: number | null
  readonly nowMs: number
}

/** Makes and stores a key; `key` is in the answer and nowhere else. */
export async function createKey(
  db: D1Database,
  { tenant, scopes, expiresMs, nowMs }: NewKey,
): Promise<{ key: string; row: KeyRow }> {
  const { key, id, prefix, hash } = await makeKey()
  const row = await db
    .prepare(
      `INSERT INTO api_keys (id, hash, prefix, tenant, scopes, created_ms, expires_ms) VALUES (?, ?, ?, ?, ?, ?, ?)
       RETURNING ${COLUMNS}`,
    )
    .bind(id, hash, prefix, tenant, scopes.join(' '), nowMs, expiresMs)
    .first()
  return { key, row: KeyRow.parse(row) }
}

/**
 * Puts a new key in the place of `oldId`, with its scopes and expiry; the old one ends at `overlapUntilMs`, or when it would
 * have ended anyway: both or neither. Undefined where there is no such key, or it has ended or was replaced already: its
 * expiry is no longer the one that was agreed then.
 */
export async function tryRotateKey(
  db: D1Database,
  tenant: string,
  oldId: string,
  { nowMs, overlapUntilMs }: { nowMs: number; overlapUntilMs: number },
): Promise<{ key: string; row: KeyRow } | undefined> {
  const { key, id, prefix, hash } = await makeKey()
  const [created] = await db.batch([
    db
      .prepare(
        `INSERT INTO api_keys (id, hash, prefix, tenant, scopes, created_ms, expires_ms)
         SELECT ?1, ?2, ?3, tenant, scopes, ?4, expires_ms FROM api_keys
         WHERE tenant = ?5 AND id = ?6 AND revoked_ms IS NULL AND replaced_by IS NULL AND IFNULL(expires_ms > ?4, TRUE)
         RETURNING ${COLUMNS}`,
      )
      .bind(id, hash, prefix, nowMs, tenant, oldId),
    db
      .prepare(
        `UPDATE api_keys SET expires_ms = MIN(IFNULL(expires_ms, ?1), ?1), replaced_by = ?2
         WHERE tenant = ?3 AND id = ?4 AND EXISTS (SELECT 1 FROM api_keys WHERE id = ?2)`,
      )
      .bind(overlapUntilMs, id, tenant, oldId),
  ])
  const [row] = z.array(KeyRow).parse(created?.results)
  return row && { key, row }
}

async function makeKey(): Promise<{ key: string; id: string; prefix: string; hash: string }> {
  const key = `pl-${base64Url(crypto.getRandomValues(new Uint8Array(SECRET_BYTES)))}`
  const id = `key_${crypto.randomUUID().replaceAll('-', '').slice(0, 16)}`
  return { key, id, prefix: key.slice(0, PREFIX_CHARS), hash: await sha256Hex(key) }
}

export async function listKeys(db: D1Database, tenant: string): Promise<KeyRow[]> {
  const { results } = await db
    .prepare(`SELECT ${COLUMNS} FROM api_keys WHERE tenant = ? ORDER BY created_ms, id`)
    .bind(tenant)
    .all()
  return z.array(KeyRow).parse(results)
}

export async function tryGetKey(db: D1Database, tenant: string, id: string): Promise<KeyRow | undefined> {
  const row = await db.prepare(`SELECT ${COLUMNS} FROM api_keys WHERE tenant = ? AND id = ?`).bind(tenant, id).first()
  return row ? KeyRow.parse(row) : undefined
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
