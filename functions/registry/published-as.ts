// Whose versions digests are: several names may have the same bytes.
import * as z from 'zod/mini'
import { Digest } from '../../gpu-backend/protocol.ts'

const Rows = z.array(z.object({ tenant: z.string(), name: z.string(), digest: Digest }))

/** Digest -> the `tenant/name`s that have it as a version: one tenant's, or everybody's where `tenant` is undefined. */
export async function publishedAs(db: D1Database, tenant: string | undefined): Promise<Map<string, string[]>> {
  const filter = tenant === undefined ? '' : 'AND tenant = ?'
  const { results } = await db
    .prepare(`SELECT tenant, name, digest FROM versions WHERE ready = 1 ${filter} ORDER BY tenant, name`)
    .bind(...(tenant === undefined ? [] : [tenant]))
    .all()
  const names = new Map<string, string[]>()
  for (const row of Rows.parse(results)) {
    names.set(row.digest, [...(names.get(row.digest) ?? []), `${row.tenant}/${row.name}`])
  }
  return names
}
