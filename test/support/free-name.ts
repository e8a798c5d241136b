import type { EdgeHarness } from './edge-harness.ts'

/** As if the deletion of the tenant, if there was one, were long past: its name may be given to another. */
export async function freeName(edge: EdgeHarness, tenant: string): Promise<void> {
  await edge.db.prepare('UPDATE receipts SET erased_ms = erased_ms - 600000 WHERE tenant = ?').bind(tenant).run()
}
