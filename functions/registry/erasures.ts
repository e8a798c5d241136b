// What the sweep has still to look at: digests that have lost a version. A row is written with the statement that removes
// the version, and leaves once the sweep has found storage and every backend clean: no edge that dies takes it along.
import * as z from 'zod/mini'
import { Digest } from '../../gpu-backend/protocol.ts'
import { MARK_MS } from './orphans.ts'

/** Until then other isolates may remember a name or a key, and bring the delta to a backend once more. */
const SETTLED_MS = MARK_MS
/** A sweep that dies, or a backend that is down, is followed up so much later. */
const RETRY_MS = 60_000
/** So many digests a sweep. */
const BATCH = 50

const Erasure = z.object({ digest: Digest, tenant: z.string() })
type Erasure = z.infer<typeof Erasure>

/** Of versions: an SQL condition, and its parameters. */
export interface VersionFilter {
  readonly where: string
  readonly values: readonly (string | number)[]
}

/** For the batch that removes these versions, before they are gone. */
export function noteErasures(db: D1Database, { where, values }: VersionFilter, nowMs: number): D1PreparedStatement {
  return db
    .prepare(
      `INSERT OR REPLACE INTO erasures (digest, tenant, due_ms) SELECT DISTINCT digest, tenant, ? FROM versions WHERE ${where}`,
    )
    .bind(nowMs + SETTLED_MS, ...values)
}

/** Takes some that are due; they are due again later unless `endErasures` is told of them with the same `nowMs`. */
export async function takeErasures(db: D1Database, nowMs: number): Promise<Erasure[]> {
  const { results } = await db
    .prepare(
      `UPDATE erasures SET due_ms = ?1 WHERE digest IN
         (SELECT digest FROM erasures WHERE due_ms <= ?2 ORDER BY due_ms LIMIT ?3) RETURNING digest, tenant`,
    )
    .bind(nowMs + RETRY_MS, nowMs, BATCH)
    .all()
  return z.array(Erasure).parse(results)
}

/** Nothing is left of these; one that has lost another version since it was taken stays. */
export async function endErasures(db: D1Database, digests: readonly Digest[], nowMs: number): Promise<void> {
  if (digests.length === 0) return
  const end = db.prepare('DELETE FROM erasures WHERE digest IN (SELECT value FROM json_each(?)) AND due_ms = ?')
  await end.bind(JSON.stringify(digests), nowMs + RETRY_MS).run()
}
