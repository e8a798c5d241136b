// Erases the objects that no version refers to any more (those of a tenant that is being deleted don't count), without racing
// a publisher of the same bytes: a digest is marked while its object goes, and `beginVersion` takes no marked digest. D1 runs
// one statement after another, so either the publisher's claim is seen here, or the mark is seen there.
import * as z from 'zod/mini'
import { Digest } from '../../gpu-backend/protocol.ts'
import type { CachedObjects } from './cached-objects.ts'

/** A mark left behind by an edge that died counts for no longer. */
export const MARK_MS = 60_000
/** A store takes 10 s at most for each of a slice's objects: the last slice begins early enough for its marks to count that long. */
const SLICE = 4
const LAST_SLICE_MS = 15_000
/** So many files one request erases: for each it asks every backend. Others, to which no name leads, are left to the sweep. */
export const FILES_AT_ONCE = 100

export interface Orphans {
  readonly erased: readonly Digest[]
  /** Their turn did not come. */
  readonly left: readonly Digest[]
}

const Marked = z.array(z.object({ digest: Digest }))

/**
 * Deletes those of `digests` that nobody refers to, from storage and this data centre's cache, as many as a slow store lets it
 * while the marks count.
 */
export async function eraseOrphans(
  db: D1Database,
  objects: CachedObjects,
  digests: readonly Digest[],
  nowMs: number,
): Promise<Orphans> {
  if (digests.length === 0) return { erased: [], left: [] }
  // One statement for any number of digests: an invocation has a thousand.
  const mark = db.prepare(
    `INSERT OR REPLACE INTO deletions (digest, at_ms)
     SELECT DISTINCT value, ?2 FROM json_each(?1) WHERE NOT EXISTS
       (SELECT 1 FROM versions v JOIN tenants t ON t.id = v.tenant WHERE v.digest = value AND t.deleting_ms IS NULL)
     RETURNING digest`,
  )
  const { results } = await mark.bind(JSON.stringify(digests), nowMs).all()
  const orphans = Marked.parse(results).map(({ digest }) => digest)
  if (orphans.length === 0) return { erased: [], left: [] }
  let done = 0
  while (done < orphans.length && Date.now() - nowMs < LAST_SLICE_MS) {
    await objects.delete(orphans.slice(done, done + SLICE))
    done += SLICE
  }
  // Somebody else who erases the same has a mark of their own by now: it stays until they are done.
  const unmark = db.prepare('DELETE FROM deletions WHERE digest IN (SELECT value FROM json_each(?)) AND at_ms = ?')
  await unmark.bind(JSON.stringify(orphans), nowMs).run()
  return { erased: orphans.slice(0, done), left: orphans.slice(done) }
}
