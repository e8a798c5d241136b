// Receipts of deleted tenants, in D1.
import { Receipt } from './receipt.ts'

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
