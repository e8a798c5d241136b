// Erases a tenant: its keys count for nothing from the first statement on, and its row goes last. A deletion that breaks off
// in between is repeated as a whole, by DELETE or by the sweep; every step may be repeated. Of very many adapters the files
// are left to the sweep, where no name leads to them.
import type { Edge } from './edge.ts'
import type { Bindings } from './env.ts'
import { askMeterOf } from './metering/meter-of.ts'
import { objectKey } from './registry/objects.ts'
import { eraseOrphans, FILES_AT_ONCE } from './registry/orphans.ts'
import type { Receipt } from './registry/receipt.ts'
import { removeTenant, tryBeginDeletion } from './registry/tenant-deletion.ts'
import { eraseParts } from './registry/uploads.ts'
import { evictEverywhere } from './router/evict.ts'

/** So many uploads lose their parts at once, each up to 128 with a request of its own: the sweep erases the others. */
const UPLOADS_AT_ONCE = 10

/** Undefined where there is no such tenant. */
export async function tryEraseTenant(
  edge: Edge,
  env: Bindings,
  id: string,
  requestId: string,
): Promise<Receipt | undefined> {
  const deletion = await tryBeginDeletion(env.DB, id, Date.now())
  if (!deletion) return undefined
  const { begunMs, sinceMs, ...erased } = deletion
  edge.authenticator.forget()
  const [now, later] = [erased.digests.slice(0, FILES_AT_ONCE), erased.digests.slice(FILES_AT_ONCE)]
  const { erased: files, left } = await eraseOrphans(env.DB, edge.cachedObjects, now, Date.now())
  const evicted = await evictEverywhere(
    edge,
    requestId,
    files.map((digest) => ({ tenant: id, digest })),
  )
  // They stay noted: `removeTenant` has the sweep look again for what was still on its way.
  for (const digest of erased.uploads.slice(0, UPLOADS_AT_ONCE))
    await eraseParts(env.DB, edge.objects, { tenant: id, digest })
  // Somebody else may have finished this deletion meanwhile, and the name may be in use again: its meter knows by the time.
  const closed = await askMeterOf(env, id, async (meter) => await meter.erase(sinceMs))
  const receipt: Receipt = {
    id,
    object: 'tenant.deleted',
    deleted: true,
    erased_ms: Date.now(),
    keys: erased.keys,
    adapters: erased.adapters,
    objects: files.map((digest) => objectKey('deltas', digest)),
    objects_later: [...left, ...later].map((digest) => objectKey('deltas', digest)),
    uploads: erased.uploads,
    backend_caches: evicted,
    ...closed,
    kept: 'usage records and this receipt',
  }
  await removeTenant(env.DB, receipt, begunMs)
  return receipt
}
