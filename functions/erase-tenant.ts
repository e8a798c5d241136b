// Erases a tenant: its keys count for nothing from the first statement on, and its row goes last. A deletion that breaks off
// in between is repeated as a whole, by DELETE or by the sweep; every step may be repeated.
import type { Edge } from './edge.ts'
import type { Bindings } from './env.ts'
import { objectKey } from './registry/objects.ts'
import { eraseOrphans } from './registry/orphans.ts'
import type { Receipt } from './registry/receipt.ts'
import { beginDeletion, removeTenant } from './registry/tenants.ts'
import { eraseUpload } from './registry/uploads.ts'
import { evictEverywhere } from './router/evict.ts'

export async function eraseTenant(edge: Edge, env: Bindings, id: string, requestId: string): Promise<Receipt> {
  const { begunMs, ...erased } = await beginDeletion(env.DB, id, Date.now())
  edge.authenticator.forget()
  const orphans = await eraseOrphans(env.DB, edge.cachedObjects, erased.digests, Date.now())
  const evicted = await evictEverywhere(edge, { tenant: id, requestId, digests: orphans })
  for (const digest of erased.uploads) await eraseUpload(env.DB, edge.objects, { tenant: id, digest })
  await env.METER.get(env.METER.idFromName(id)).erase()
  const receipt: Receipt = {
    id,
    object: 'tenant.deleted',
    deleted: true,
    erased_ms: Date.now(),
    keys: erased.keys,
    adapters: erased.adapters,
    objects: orphans.map((digest) => objectKey('deltas', digest)),
    uploads: erased.uploads,
    backend_caches: evicted,
    kept: 'usage records and this receipt',
  }
  await removeTenant(env.DB, receipt, begunMs)
  return receipt
}
