// Receipts of deleted tenants, in D1: what was erased. They name keys by their id, and hold nothing of what was erased.
import * as z from 'zod/mini'
import { Digest } from '../../gpu-backend/protocol.ts'

export const Receipt = z.object({
  id: z.string(),
  object: z.literal('tenant.deleted'),
  deleted: z.literal(true),
  erased_ms: z.int(),
  /** Ids of its keys. */
  keys: z.array(z.string()),
  /** `tenant/name`. */
  adapters: z.array(z.string()),
  /** Keys in object storage. A digest that another tenant has published too stays for that tenant. */
  objects: z.array(z.string()),
  /** Uploads in parts that were not completed. */
  uploads: z.array(Digest),
  /** How many backends had erased a digest; one that failed is asked again by the sweep, until it answers. */
  backend_caches: z.array(z.object({ digest: Digest, evicted: z.int(), failed: z.int() })),
  kept: z.string(),
})
export type Receipt = z.infer<typeof Receipt>

/** For the batch that removes the tenant: kept only where that deletion is the one which began at `begunMs`. */
export function keepReceipt(db: D1Database, receipt: Receipt, begunMs: number): D1PreparedStatement {
  return db
    .prepare(
      `INSERT OR IGNORE INTO receipts (tenant, erased_ms, receipt)
       SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM tenants WHERE id = ?1 AND deleting_ms = ?4)`,
    )
    .bind(receipt.id, receipt.erased_ms, JSON.stringify(receipt), begunMs)
}

/** The latest first: a name that was used again may have been deleted again. */
export async function listReceipts(db: D1Database, tenant: string): Promise<Receipt[]> {
  const { results } = await db
    .prepare('SELECT receipt FROM receipts WHERE tenant = ? ORDER BY erased_ms DESC')
    .bind(tenant)
    .all<{ receipt: string }>()
  return results.map(({ receipt }) => Receipt.parse(JSON.parse(receipt)))
}
