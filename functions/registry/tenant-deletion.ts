// A tenant's deletion in D1: how it begins, how it is found again where it broke off, and how it ends. What is erased in between
// is erase-tenant.ts's. Invariant: one that has begun can be gone on with until nothing of the tenant is left.
import * as z from 'zod/mini'
import { Digest } from '../../gpu-backend/protocol.ts'
import { noteErasures } from './erasures.ts'
import { fullName } from './names.ts'
import type { Receipt } from './receipt.ts'
import { keepReceipt } from './receipts.ts'
import { hastenUploads } from './uploads.ts'

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
  /** When the tenant was created. */
  readonly sinceMs: number
  /** Ids of its keys. */
  readonly keys: string[]
  /** `tenant/name`. */
  readonly adapters: string[]
  readonly digests: Digest[]
  /** Of what it has uploaded in parts, and not completed. */
  readonly uploads: Digest[]
}

const Begun = z.array(z.object({ deleting_ms: z.number(), created_ms: z.number() }))
const KeyIds = z.array(z.object({ id: z.string() }))
const Versions = z.array(z.object({ name: z.string(), digest: Digest }))
const Uploads = z.array(z.object({ digest: Digest }))

/**
 * From here on the tenant's keys are refused and nothing can be published for it. Returns all that is to be erased: until
 * `removeTenant` the same again, however often a deletion that broke off is repeated. Undefined where there is no such tenant.
 */
export async function tryBeginDeletion(db: D1Database, id: string, nowMs: number): Promise<Deletion | undefined> {
  const begin = 'UPDATE tenants SET deleting_ms = IFNULL(deleting_ms, ?) WHERE id = ? RETURNING deleting_ms, created_ms'
  const [begun, keys, versions, uploads] = await db.batch([
    db.prepare(begin).bind(nowMs, id),
    db.prepare('SELECT id FROM api_keys WHERE tenant = ? ORDER BY created_ms, id').bind(id),
    db.prepare('SELECT name, digest FROM versions WHERE tenant = ?').bind(id),
    db.prepare('SELECT digest FROM uploads WHERE tenant = ? ORDER BY digest').bind(id),
  ])
  const [tenant] = Begun.parse(begun?.results)
  if (!tenant) return undefined
  const found = Versions.parse(versions?.results)
  return {
    begunMs: tenant.deleting_ms,
    sinceMs: tenant.created_ms,
    keys: KeyIds.parse(keys?.results).map((key) => key.id),
    adapters: [...new Set(found.map(({ name }) => fullName({ tenant: id, name })))].sort(),
    digests: [...new Set(found.map(({ digest }) => digest))].sort(),
    uploads: Uploads.parse(uploads?.results).map(({ digest }) => digest),
  }
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
