// Whether an adapter's deltas may leave the edge for a browser, in D1: the operator's decision, for a name and all its versions.
import * as z from 'zod/mini'
import type { Digest } from '../../gpu-backend/protocol.ts'
import type { AdapterName } from './names.ts'

const DeltaRow = z.object({ bytes: z.number(), may_leave: z.int() })

/** A stored version's size, and whether it may leave. */
export async function tryGetDelta(
  db: D1Database,
  { tenant, name }: AdapterName,
  digest: Digest,
): Promise<{ bytes: number; mayLeave: boolean } | undefined> {
  const row = await db
    .prepare(
      `SELECT v.bytes, a.may_leave FROM versions v JOIN aliases a ON a.tenant = v.tenant AND a.name = v.name
       WHERE v.tenant = ? AND v.name = ? AND v.digest = ? AND v.ready = 1`,
    )
    .bind(tenant, name, digest)
    .first()
  if (!row) return undefined
  const { bytes, may_leave: mayLeave } = DeltaRow.parse(row)
  return { bytes, mayLeave: mayLeave === 1 }
}

/** False where there is no such adapter. */
export async function setMayLeave(db: D1Database, { tenant, name }: AdapterName, mayLeave: boolean): Promise<boolean> {
  const result = await db
    .prepare('UPDATE aliases SET may_leave = ? WHERE tenant = ? AND name = ?')
    .bind(mayLeave ? 1 : 0, tenant, name)
    .run()
  return result.meta.changes > 0
}
