// Tenants in D1: who they are and what was agreed with them.
import * as z from 'zod/mini'
import { Digest } from '../../gpu-backend/protocol.ts'
import { TERMS_COLUMNS, Terms, type TermsChange } from '../metering/terms.ts'
import { FRESH_MS } from '../remembered.ts'
import { noteErasures } from './erasures.ts'
import type { Receipt } from './receipt.ts'
import { keepReceipt } from './receipts.ts'
import { hastenUploads } from './uploads.ts'

const TenantRow = z.object({
  id: z.string(),
  created_ms: z.number(),
  /** When its deletion began: one that is still to be seen was left half done, and may be repeated. */
  deleting_ms: z.nullable(z.number()),
  ...Terms.shape,
})
export type TenantRow = z.infer<typeof TenantRow>

const COLUMNS = ['id', 'created_ms', 'deleting_ms', ...TERMS_COLUMNS].join(', ')

/**
 * So long a deleted tenant's name is given to nobody: other isolates may remember its keys and aliases, and would take one tenant
 * for the other. As long again for what has begun by then.
 */
export const NAME_REST_MS = 2 * FRESH_MS

/**
 * In one statement: no tenant is ever there without the terms that were agreed. What is absent of them is the column's default.
 * Undefined where there is a tenant of this name already, or was a moment ago.
 */
export async function tryCreateTenant(
  db: D1Database,
  id: string,
  terms: TermsChange,
  nowMs: number,
): Promise<TenantRow | undefined> {
  const given = givenTerms(terms)
  const columns = ['id', 'created_ms', ...given.map(([column]) => column)]
  const row = await db
    .prepare(
      `INSERT INTO tenants (${columns.join(', ')}) SELECT ${columns.map(() => '?').join(', ')}
       WHERE NOT EXISTS (SELECT 1 FROM receipts WHERE tenant = ? AND erased_ms > ?)
       ON CONFLICT (id) DO NOTHING RETURNING ${COLUMNS}`,
    )
    .bind(id, nowMs, ...given.map(([, value]) => value), id, nowMs - NAME_REST_MS)
    .first()
  return row ? TenantRow.parse(row) : undefined
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
  const given = givenTerms(terms)
  if (given.length === 0) return
  const assignments = given.map(([column]) => `${column} = ?`).join(', ')
  await db
    .prepare(`UPDATE tenants SET ${assignments} WHERE id = ?`)
    .bind(...given.map(([, value]) => value), id)
    .run()
}

/** Column and value of each that is given; null is a value. */
function givenTerms(terms: TermsChange) {
  return TERMS_COLUMNS.flatMap((column) => {
    const value = terms[column]
    return value === undefined ? [] : [[column, value] as const]
  })
}

/** A request that deletes a tenant has come to its end by then, or never will. */
const RESUME_AFTER_MS = 60_000
/** So many a sweep. */
const BATCH = 5

/** Some tenants whose deletion broke off; any of them, so that one which cannot be finished holds up no other. */
export async function halfDeletedTenants(db: D1Database, nowMs: number): Promise<string[]> {
  const begun = db.prepare('SELECT id FROM tenants WHERE deleting_ms <= ? ORDER BY RANDOM() LIMIT ?')
  const { results } = await begun.bind(nowMs - RESUME_AFTER_MS, BATCH).all<{ id: string }>()
  return results.map(({ id }) => id)
}

interface Deletion {
  readonly begunMs: number
  /** Ids of its keys. */
  readonly keys: string[]
  /** `tenant/name`. */
  readonly adapters: string[]
  readonly digests: Digest[]
  /** Of what it has uploaded in parts, and not completed. */
  readonly uploads: Digest[]
}

const Begun = z.tuple([z.object({ deleting_ms: z.number() })])
const KeyIds = z.array(z.object({ id: z.string() }))
const Versions = z.array(z.object({ name: z.string(), digest: Digest }))
const Uploads = z.array(z.object({ digest: Digest }))

/**
 * From here on the tenant's keys are refused and nothing can be published for it. Returns all that is to be erased: until
 * `removeTenant` the same again, however often a deletion that broke off is repeated.
 */
export async function beginDeletion(db: D1Database, id: string, nowMs: number): Promise<Deletion> {
  const begin = 'UPDATE tenants SET deleting_ms = IFNULL(deleting_ms, ?) WHERE id = ? RETURNING deleting_ms'
  const [begun, keys, versions, uploads] = await db.batch([
    db.prepare(begin).bind(nowMs, id),
    db.prepare('SELECT id FROM api_keys WHERE tenant = ? ORDER BY created_ms, id').bind(id),
    db.prepare('SELECT name, digest FROM versions WHERE tenant = ?').bind(id),
    db.prepare('SELECT digest FROM uploads WHERE tenant = ? ORDER BY digest').bind(id),
  ])
  const found = Versions.parse(versions?.results)
  return {
    begunMs: Begun.parse(begun?.results)[0].deleting_ms,
    keys: KeyIds.parse(keys?.results).map((key) => key.id),
    adapters: [...new Set(found.map(({ name }) => `${id}/${name}`))].sort(),
    digests: [...new Set(found.map(({ digest }) => digest))].sort(),
    uploads: Uploads.parse(uploads?.results).map(({ digest }) => digest),
  }
}

/** Whether the deletion that began at `begunMs` is still to be finished. */
export async function isBeingDeleted(db: D1Database, id: string, begunMs: number): Promise<boolean> {
  const row = await db.prepare('SELECT 1 FROM tenants WHERE id = ? AND deleting_ms = ?').bind(id, begunMs).first()
  return row !== null
}

/**
 * Removes a tenant with its keys, versions and aliases, and keeps the receipt; its usage records stay, for the books. Does
 * nothing where the deletion that began at `begunMs` has been finished by somebody else.
 */
export async function removeTenant(db: D1Database, receipt: Receipt, begunMs: number): Promise<void> {
  const { id, erased_ms: nowMs } = receipt
  await db.batch([
    noteErasures(db, { where: 'tenant = ?', values: [id] }, nowMs),
    hastenUploads(db, id, nowMs),
    ...keepReceipt(db, receipt, begunMs),
    // Its keys, versions and aliases go with it: they refer to it.
    db.prepare('DELETE FROM tenants WHERE id = ? AND deleting_ms = ?').bind(id, begunMs),
  ])
}
