// Uploads in parts that have begun, in D1, so that none is left in storage that nobody goes on with.
// Invariant: an upload is noted before its bytes are stored, and forgotten only once they are gone.
import * as z from 'zod/mini'
import { Digest } from '../../gpu-backend/protocol.ts'
import type { ObjectStore, PartKey, Upload } from './objects.ts'

/** So long an upload that broke off may be gone on with. */
const KEEP_MS = 7 * 86_400_000
/** A part that was on its way when its tenant was deleted has come by then. */
const STRAGGLER_MS = 3_600_000
/** So many a sweep: an upload has up to MAX_PARTS parts, and a Worker may ask others a thousand times. */
const BATCH = 5

const Row = z.object({ tenant: z.string(), digest: Digest })

/**
 * To be called before a part is stored, here or by the client itself, and again after: the upload may have been erased while
 * its bytes were on their way. False where the tenant is being deleted, or gone.
 */
export async function noteUpload(db: D1Database, { tenant, digest, part }: PartKey, nowMs: number): Promise<boolean> {
  const { meta } = await db
    .prepare(
      `INSERT INTO uploads (tenant, digest, due_ms, last_part)
       SELECT ?1, ?2, ?3, ?4 WHERE EXISTS (SELECT 1 FROM tenants WHERE id = ?1 AND deleting_ms IS NULL)
       ON CONFLICT (tenant, digest) DO UPDATE SET due_ms = excluded.due_ms, last_part = MAX(last_part, excluded.last_part)`,
    )
    .bind(tenant, digest, nowMs + KEEP_MS, part)
    .run()
  return meta.changes > 0
}

/** Erases the parts that are there, and forgets the upload. */
export async function eraseUpload(db: D1Database, objects: ObjectStore, upload: Upload): Promise<void> {
  const dueMs = await eraseParts(db, objects, upload)
  // One that has begun anew meanwhile stays noted.
  const forget = db.prepare('DELETE FROM uploads WHERE tenant = ? AND digest = ? AND due_ms = ?')
  if (dueMs !== undefined) await forget.bind(upload.tenant, upload.digest, dueMs).run()
}

/** Erases the parts that are there; the upload stays noted, until when is returned. Undefined where it never was. */
export async function eraseParts(db: D1Database, objects: ObjectStore, upload: Upload): Promise<number | undefined> {
  const { tenant, digest } = upload
  const noted = db.prepare('SELECT due_ms, last_part FROM uploads WHERE tenant = ? AND digest = ?').bind(tenant, digest)
  const row = await noted.first<{ due_ms: number; last_part: number }>()
  // Who writes into the bucket without a word leaves no note: then there are as many as are found.
  await objects.deleteParts(upload, row?.last_part ?? Math.max(0, ...(await objects.listParts(upload)).keys()))
  return row?.due_ms
}

/** Some of those that nobody has gone on with for too long. */
export async function abandonedUploads(db: D1Database, nowMs: number): Promise<Upload[]> {
  const due = db.prepare('SELECT tenant, digest FROM uploads WHERE due_ms <= ? ORDER BY due_ms LIMIT ?')
  const { results } = await due.bind(nowMs, BATCH).all()
  return z.array(Row).parse(results)
}

/** For the batch that removes a tenant: a part that was on its way when the others were erased is looked for again. */
export function hastenUploads(db: D1Database, tenant: string, nowMs: number): D1PreparedStatement {
  return db.prepare('UPDATE uploads SET due_ms = ? WHERE tenant = ?').bind(nowMs + STRAGGLER_MS, tenant)
}
