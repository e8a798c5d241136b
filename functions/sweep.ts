// The cron trigger's work: erases what deletions, and publications that broke off, have left behind, on backends that were down
// or where the edge died in between, uploads that nobody goes on with, and files for browsers that no manifest names; and sums
// up old usage records. Every step may be repeated; what has been published since is left alone.
import type { Edge } from './edge.ts'
import type { Bindings } from './env.ts'
import { tryEraseTenant } from './erase-tenant.ts'
import { eraseUnnamedFiles } from './registry/browser-models.ts'
import { endErasures, takeErasures } from './registry/erasures.ts'
import { eraseOrphans } from './registry/orphans.ts'
import { halfDeletedTenants } from './registry/tenant-deletion.ts'
import { abandonedUploads, eraseUpload } from './registry/uploads.ts'
import { sumUpRecords } from './registry/usage-days.ts'
import { abandonClaims } from './registry/version-claims.ts'
import { evictEverywhere } from './router/evict.ts'

export async function sweep(edge: Edge, env: Bindings, nowMs: number): Promise<void> {
  const requestId = `sweep_${crypto.randomUUID().replaceAll('-', '')}`
  const uploads = await abandonedUploads(env.DB, nowMs)
  const tenants = await halfDeletedTenants(env.DB, nowMs)
  const jobs = [
    () => sweepErasures(edge, env.DB, requestId, nowMs),
    () => abandonClaims(env.DB, nowMs),
    ...uploads.map((upload) => () => eraseUpload(env.DB, edge.objects, upload)),
    ...tenants.map((id) => () => tryEraseTenant(edge, env, id, requestId)),
    () => eraseUnnamedFiles(env.DB, edge.browserFiles, nowMs),
    () => sumUpUsage(edge, env.DB, nowMs),
  ]
  // Each is tried again the next minute, and none keeps the others from their turn.
  for (const job of jobs) {
    try {
      await job()
    } catch (error) {
      console.error(JSON.stringify({ event: 'sweep_failed', reason: String(error) }))
    }
  }
}

async function sweepErasures(edge: Edge, db: D1Database, requestId: string, nowMs: number): Promise<void> {
  const due = await takeErasures(db, nowMs)
  const digests = due.map(({ digest }) => digest)
  const orphans = await eraseOrphans(db, edge.cachedObjects, digests, Date.now())
  const erased = new Set(orphans.erased)
  const asked = await evictEverywhere(
    edge,
    requestId,
    due.filter(({ digest }) => erased.has(digest)),
  )
  const left = new Set([...orphans.left, ...asked.flatMap(({ digest, failed }) => (failed > 0 ? [digest] : []))])
  await endErasures(
    db,
    digests.filter((digest) => !left.has(digest)),
    nowMs,
  )
  if (due.length > 0) console.log(JSON.stringify({ event: 'swept', digests: due.length, left: left.size }))
}

async function sumUpUsage({ config }: Edge, db: D1Database, nowMs: number): Promise<void> {
  if (config.usageRecordDays === undefined) return
  const records = await sumUpRecords(db, config.usageRecordDays, nowMs)
  if (records > 0) console.log(JSON.stringify({ event: 'usage_summed_up', records }))
}
