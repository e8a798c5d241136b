// The cron trigger's work: erases what deletions have left behind, on backends that were down, or where the edge died
// in between. Every step may be repeated; a digest that somebody has published since is left alone.
import type { Edge } from './edge.ts'
import { endErasures, takeErasures } from './registry/erasures.ts'
import { eraseOrphans } from './registry/orphans.ts'
import { evictEverywhere } from './router/evict.ts'

export async function sweep(edge: Edge, db: D1Database, nowMs: number): Promise<void> {
  const due = await takeErasures(db, nowMs)
  const digests = due.map(({ digest }) => digest)
  const orphans = new Set(await eraseOrphans(db, edge.cachedObjects, digests, Date.now()))
  const requestId = `sweep_${crypto.randomUUID().replaceAll('-', '')}`
  const asked = await Promise.all(
    due
      .filter(({ digest }) => orphans.has(digest))
      .map(({ digest, tenant }) => evictEverywhere(edge, { tenant, requestId, digests: [digest] })),
  )
  const left = new Set(asked.flat().flatMap(({ digest, failed }) => (failed > 0 ? [digest] : [])))
  await endErasures(
    db,
    digests.filter((digest) => !left.has(digest)),
    nowMs,
  )
  if (due.length > 0) console.log(JSON.stringify({ event: 'swept', digests: due.length, left: left.size }))
}
