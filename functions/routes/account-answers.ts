// What the routes answer that tell of a tenant's account: its terms, keys, usage, and what backends hold for it.
import * as z from 'zod/mini'
import { Digest, Tier } from '../../gpu-backend/protocol.ts'
import { Scope } from '../auth/scope.ts'
import { Terms } from '../metering/terms.ts'
import { OwnUsageRecord, UsageRow } from '../registry/usage-rows.ts'

/** Billionths of the currency's unit: what was paid in less what was used, and what open requests may still use of it. */
const Balance = z.object({ balance_nano: z.int(), held_nano: z.int() })

export const OwnKey = z.object({
  object: z.literal('api_key'),
  id: z.string(),
  tenant: z.string(),
  scopes: z.readonly(z.array(z.string())),
  expires_ms: z.nullable(z.number()),
  ...Terms.shape,
  ...Balance.shape,
})
export type OwnKey = z.infer<typeof OwnKey>

export const Tenant = z.object({
  object: z.literal('tenant'),
  id: z.string(),
  created_ms: z.number(),
  /** When its deletion began; null: it is not being deleted. */
  deleting_ms: z.nullable(z.number()),
  ...Terms.shape,
})
export type Tenant = z.infer<typeof Tenant>

export const TenantWithBalance = z.object({ ...Tenant.shape, ...Balance.shape })
export type TenantWithBalance = z.infer<typeof TenantWithBalance>

export const Credited = z.object({ tenant: z.string(), balance_nano: z.int() })
export type Credited = z.infer<typeof Credited>

export const ApiKey = z.object({
  object: z.literal('api_key'),
  id: z.string(),
  /** All that can be shown of the key. */
  prefix: z.string(),
  scopes: z.array(Scope),
  created_ms: z.number(),
  expires_ms: z.nullable(z.number()),
  revoked_ms: z.nullable(z.number()),
})
export type ApiKey = z.infer<typeof ApiKey>

/** `key` is shown here and nowhere else. */
export const NewApiKey = z.object({ ...ApiKey.shape, key: z.string() })
export type NewApiKey = z.infer<typeof NewApiKey>

export const RotatedKey = z.object({ ...NewApiKey.shape, replaces: z.string() })
export type RotatedKey = z.infer<typeof RotatedKey>

/** Sums, or with `group_by=request` the records themselves. */
export const UsageRows = z.object({
  object: z.literal('list'),
  data: z.union([z.array(UsageRow), z.array(OwnUsageRecord)]),
})

export const BackendHoldings = z.object({
  /** Its URL for the operator, a number for a tenant. */
  backend: z.union([z.string(), z.int()]),
  reachable: z.boolean(),
  adapters: z.array(
    z.object({
      digest: Digest,
      names: z.readonly(z.array(z.string())),
      tier: Tier,
      bytes: z.nullable(z.int()),
      last_used_ms: z.nullable(z.number()),
    }),
  ),
})
export type BackendHoldings = z.infer<typeof BackendHoldings>
