// `GET /v1/residency`: which of the tenant's versions the backends hold at this moment. `describeResidency` is the operator's
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
  const data = backends.map((backend, place) => ({ backend: place, ...describeResidency(backend, names, false) }))
  return c.json({ object: 'list', data })
})

/** What any of them holds. */
export function digestsOf(backends: readonly BackendResidency[]): Digest[] {
  return [...new Set(backends.flatMap(({ entries }) => entries?.map(({ digest }) => digest) ?? []))]
}

/** What one backend holds, each with the names that have it; without `all`, only what has one. */
export function describeResidency(
  { entries }: BackendResidency,
  names: ReadonlyMap<string, readonly string[]>,
  all: boolean,
): Omit<BackendHoldings, 'backend'> {
  const shown = entries?.filter(({ digest }) => all || names.has(digest)) ?? []
  return {
    reachable: entries !== undefined,
    adapters: shown.map((entry) => ({
      digest: entry.digest,
      names: names.get(entry.digest) ?? [],
      tier: entry.tier,
      bytes: entry.bytes ?? null,
      last_used_ms: entry.last_used_ms ?? null,
    })),
  }
}
