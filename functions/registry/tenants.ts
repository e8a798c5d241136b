// Tenants in D1: who they are and what was agreed with them.
import * as z from 'zod/mini'
import { Digest } from '../../gpu-backend/protocol.ts'
import { TERMS_COLUMNS, Terms, type TermsChange } from '../metering/terms.ts'

const TenantRow = z.object({ id: z.string(), created_ms: z.number(), ...Terms.shape })
export type TenantRow = z.infer<typeof TenantRow>

const COLUMNS = ['id', 'created_ms', ...TERMS_COLUMNS].join(', ')

/** False where there is a tenant of this name already. */
export async function createTenant(db: D1Database, id: string, nowMs: number): Promise<boolean> {
  const result = await db.prepare('INSERT OR IGNORE INTO tenants (id, created_ms) VALUES (?, ?)').bind(id, nowMs).run()
  return result.meta.changes > 0
}

export async function tryGetTenant(db: D1Database, id: string): Promise<TenantRow | undefined> {
  const row = await db.prepare(`SELECT ${COLUMNS} FROM tenants WHERE id = ?`).bind(id).first()
  return row ? TenantRow.parse(row) : undefined
}

export async function listTenants(db: D1Database): Promise<TenantRow[]> {
  const { results } = await db.prepare(`SELECT ${COLUMNS} FROM tenants ORDER BY id`).all()
  return z.array(TenantRow).parse(results)
}

/** Changes what is given of the terms. */
export async function changeTerms(db: D1Database, id: string, terms: TermsChange): Promise<void> {
  const given = TERMS_COLUMNS.filter((column) => terms[column] !== undefined)
  if (given.length === 0) return
  const assignments = given.map((column) => `${column} = ?`).join(', ')
  await db
    .prepare(`UPDATE tenants SET ${assignments} WHERE id = ?`)
    .bind(...given.map((column) => terms[column] ?? null), id)
    .run()
}

export interface ErasedTenant {
  readonly keys: string[]
  readonly adapters: string[]
  readonly digests: Digest[]
}

const KeyIds = z.array(z.object({ id: z.string() }))
const Versions = z.array(z.object({ name: z.string(), digest: Digest }))

/** Removes a tenant with its keys, versions and aliases; its usage records stay, for the books. */
export async function eraseTenant(db: D1Database, id: string): Promise<ErasedTenant> {
  const [keys, versions] = await db.batch([
    db.prepare('DELETE FROM api_keys WHERE tenant = ? RETURNING id').bind(id),
    db.prepare('DELETE FROM versions WHERE tenant = ? RETURNING name, digest').bind(id),
    db.prepare('DELETE FROM aliases WHERE tenant = ?').bind(id),
    db.prepare('DELETE FROM tenants WHERE id = ?').bind(id),
  ])
  const removed = Versions.parse(versions?.results ?? [])
  const digests = [...new Set(removed.map(({ digest }) => digest))].sort()
  return {
    keys: KeyIds.parse(keys?.results ?? []).map((key) => key.id),
    adapters: [...new Set(removed.map(({ name }) => `${id}/${name}`))].sort(),
    digests,
  }
}
