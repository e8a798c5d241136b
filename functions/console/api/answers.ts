// What the edge's routes answer, as far as this page looks at it. Everything read from the network passes one of these.
import * as z from 'zod/mini'
import { Scope } from '../../auth/scope.ts'
import { Terms } from '../../metering/terms.ts'

export function listOf<Item extends z.ZodMiniType>(item: Item) {
  return z.object({ data: z.array(item) })
}

const Balance = z.object({ balance_nano: z.number(), held_nano: z.number() })

export const OwnKey = z.object({
  id: z.string(),
  tenant: z.string(),
  scopes: z.array(z.string()),
  expires_ms: z.nullable(z.number()),
  ...Terms.shape,
  ...Balance.shape,
})
export type OwnKey = z.infer<typeof OwnKey>

export const Model = z.object({ id: z.string(), owned_by: z.string(), digest: z.optional(z.string()) })
export type Model = z.infer<typeof Model>

export const Embeddings = z.object({
  data: z.array(z.object({ embedding: z.array(z.number()) })),
  usage: z.object({ prompt_tokens: z.number() }),
})
export type Embeddings = z.infer<typeof Embeddings>

export const Version = z.object({
  digest: z.string(),
  bytes: z.number(),
  source_format: z.string(),
  base: z.string(),
  dtype: z.string(),
  rank: z.number(),
  modules: z.number(),
  chat_template: z.boolean(),
  created_ms: z.number(),
})
export type Version = z.infer<typeof Version>

export const AdapterSummary = z.object({
  id: z.string(),
  updated_ms: z.number(),
  /** Whether a browser may download its deltas. */
  may_leave: z.boolean(),
  ...Version.shape,
})
export type AdapterSummary = z.infer<typeof AdapterSummary>

export const Adapter = z.object({
  ...AdapterSummary.shape,
  previous_digest: z.nullable(z.string()),
  canary: z.nullable(z.object({ digest: z.string(), weight: z.number() })),
  report: z.unknown(),
  versions: z.array(Version),
})
export type Adapter = z.infer<typeof Adapter>

/** What is left of an adapter: the digests of the files that nobody else uses. */
export const AdapterErasure = z.object({ id: z.string(), erased: z.array(z.string()) })
export type AdapterErasure = z.infer<typeof AdapterErasure>

export const Tenant = z.object({
  id: z.string(),
  created_ms: z.number(),
  /** When its erasure began, where that broke off. */
  deleting_ms: z.nullable(z.number()),
  ...Terms.shape,
})
export type Tenant = z.infer<typeof Tenant>
export const TenantWithBalance = z.object({ ...Tenant.shape, ...Balance.shape })
export type TenantWithBalance = z.infer<typeof TenantWithBalance>

/** What is saved of it is all of it, so nothing is left out. */
export const TenantErasure = z.looseObject({
  id: z.string(),
  erased_ms: z.number(),
  keys: z.array(z.string()),
  adapters: z.array(z.string()),
  objects: z.array(z.string()),
  /** `failed`: backends that could not be asked. */
  backend_caches: z.array(z.object({ evicted: z.number(), failed: z.number() })),
  kept: z.string(),
})
export type TenantErasure = z.infer<typeof TenantErasure>

export const ApiKey = z.object({
  id: z.string(),
  prefix: z.string(),
  scopes: z.array(Scope),
  created_ms: z.number(),
  expires_ms: z.nullable(z.number()),
  revoked_ms: z.nullable(z.number()),
})
export type ApiKey = z.infer<typeof ApiKey>
export const NewApiKey = z.object({ ...ApiKey.shape, key: z.string() })

/** What rows may be grouped by. */
const Dimensions = {
  day: z.optional(z.string()),
  tenant: z.optional(z.string()),
  adapter: z.optional(z.string()),
  digest: z.optional(z.string()),
  key: z.optional(z.string()),
  base: z.optional(z.string()),
  outcome: z.optional(z.string()),
}

export const UsageRow = z.object({
  ...Dimensions,
  requests: z.number(),
  prompt_tokens: z.number(),
  cached_tokens: z.number(),
  completion_tokens: z.number(),
  cold_requests: z.number(),
  price_nano: z.number(),
})
export type UsageRow = z.infer<typeof UsageRow>

const ms = z.nullable(z.number())
export const LatencyRow = z.object({
  ...Dimensions,
  requests: z.number(),
  ttft_ms_p50: ms,
  ttft_ms_p95: ms,
  ttft_ms_p99: ms,
  latency_ms_p50: ms,
  latency_ms_p95: ms,
  latency_ms_p99: ms,
})
export type LatencyRow = z.infer<typeof LatencyRow>

export const Residency = z.object({
  /** Its URL for the operator, a number for a tenant. */
  backend: z.union([z.string(), z.number()]),
  reachable: z.boolean(),
  adapters: z.array(
    z.object({
      digest: z.string(),
      names: z.array(z.string()),
      tier: z.enum(['device', 'host', 'disk']),
      bytes: z.nullable(z.number()),
      last_used_ms: z.nullable(z.number()),
    }),
  ),
})
export type Residency = z.infer<typeof Residency>
