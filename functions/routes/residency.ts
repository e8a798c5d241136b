// `GET /v1/residency`: which of the tenant's versions the backends hold at this moment. `describeHoldings` is the operator's
// answer as well, who sees everybody's. Invariant: a tenant learns neither a backend's address nor another tenant's digests.
import { Hono } from 'hono'
import type { Digest } from '../../gpu-backend/protocol.ts'
import type { EdgeEnv } from '../edge-env.ts'
import { publishedAs } from '../registry/published-as.ts'
import { askResidency, type BackendResidency } from '../router/residency.ts'
import type { BackendHoldings } from './account-answers.ts'

export const residency = new Hono<EdgeEnv>().get('/', async (c) => {
  const { tenant } = c.var.principal
  const backends = await askResidency(c.var.edge, { tenant, requestId: c.var.requestId })
  const names = await publishedAs(c.env.DB, tenant, digestsOf(backends))
  const data = backends.map(({ entries }, place) => {
    const own = entries?.filter(({ digest }) => names.has(digest))
    return { backend: place, ...describeHoldings(own, names) }
  })
  return c.json({ object: 'list', data })
})

/** What any of them holds. */
export function digestsOf(backends: readonly BackendResidency[]): Digest[] {
  return [...new Set(backends.flatMap(({ entries }) => entries?.map(({ digest }) => digest) ?? []))]
}

/** What one backend holds, each delta with the names that have it; `entries` is undefined where it could not be asked. */
export function describeHoldings(
  entries: BackendResidency['entries'],
  names: ReadonlyMap<string, readonly string[]>,
): Omit<BackendHoldings, 'backend'> {
  const adapters = (entries ?? []).map(({ digest, tier, bytes = null, last_used_ms = null }) => {
    return { digest, names: names.get(digest) ?? [], tier, bytes, last_used_ms }
  })
  return { reachable: entries !== undefined, adapters }
}
