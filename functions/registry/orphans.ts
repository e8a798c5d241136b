// Erases the objects that no version refers to any more (those of a tenant that is being deleted don't count), without racing
// a publisher of the same bytes: a digest is marked while its object goes, and `beginVersion` takes no marked digest. D1 runs
// one statement after another, so either the publisher's claim is seen here, or the mark is seen there.
import type { Digest } from '../../gpu-backend/protocol.ts'
import type { CachedObjects } from './cached-objects.ts'

/** A mark left behind by an edge that died counts for no longer. */
export const MARK_MS = 60_000

/** Deletes those of `digests` that nobody refers to, from storage and this data centre's cache, and returns them. */
export async function eraseOrphans(
  db: D1Database,
  objects: CachedObjects,
  digests: readonly Digest[],
  nowMs: number,
): Promise<Digest[]> {
  const candidates = [...new Set(digests)]
  if (candidates.length === 0) return []
  const mark = db.prepare(
    `INSERT OR REPLACE INTO deletions (digest, at_ms)
     SELECT ?1, ?2 WHERE NOT EXISTS
       (SELECT 1 FROM versions v JOIN tenants t ON t.id = v.tenant WHERE v.digest = ?1 AND t.deleting_ms IS NULL)`,
  )
  const marked = await db.batch(candidates.map((digest) => mark.bind(digest, nowMs)))
  const orphans = candidates.filter((_, i) => (marked[i]?.meta.changes ?? 0) > 0)
  if (orphans.length === 0) return orphans
  await objects.delete(orphans)
  // Somebody else who erases the same has a mark of their own by now: it stays until they are done.
  const unmark = db.prepare('DELETE FROM deletions WHERE digest = ? AND at_ms = ?')
  await db.batch(orphans.map((digest) => unmark.bind(digest, nowMs)))
  return orphans
}
