// Whose versions digests are: several names may have the same bytes.
import * as z from 'zod/mini'
import { Digest } from '../../gpu-backend/protocol.ts'
import { fullName } from './names.ts'

const Rows = z.array(z.object({ tenant: z.string(), name: z.string(), digest: Digest }))

/** So many digests a statement: what is bound to one may have 2 MB. */
const AT_ONCE = 20_000

/**
 * Digest -> the `tenant/name`s that have it as a version: one tenant's, or everybody's where `tenant` is undefined. Of `digests`
 * alone, since everybody's versions of all time are more than one answer holds.
 */
export async function publishedAs(
  db: D1Database,
  tenant: string | undefined,
  digests: readonly Digest[],
): Promise<Map<string, string[]>> {
  const find = db.prepare(
    `SELECT tenant, name, digest FROM versions
     WHERE ready = 1 AND digest IN (SELECT value FROM json_each(?1)) AND tenant = IFNULL(?2, tenant) ORDER BY tenant, name`,
  )
  const names = new Map<string, string[]>()
  for (let start = 0; start < digests.length; start += AT_ONCE) {
    const some = JSON.stringify(digests.slice(start, start + AT_ONCE))
    const { results } = await find.bind(some, tenant ?? null).all()
    for (const row of Rows.parse(results)) {
      const known = names.get(row.digest)
      if (known) known.push(fullName(row))
      else names.set(row.digest, [fullName(row)])
    }
  }
  return names
}
