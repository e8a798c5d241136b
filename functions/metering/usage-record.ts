// What is written down of one request that reached a model: the basis of every bill.
import * as z from 'zod/mini'
import { Tier } from '../../gpu-backend/protocol.ts'

/**
 * `cut`: the client left, or broke its streamed answer off by what it had asked for; `failed`: the backend did, after it had
 * begun; `lost`: the edge did, and the meter closed the account with what it had heard last, until it is put right. Tokens are
 * those that reached the edge. What failed costs nothing, and under an Idempotency-Key what was lost.
 */
export const Outcome = z.enum(['complete', 'cut', 'failed', 'lost'])
export type Outcome = z.infer<typeof Outcome>

export const UsageRecord = z.object({
  request_id: z.string(),
  tenant: z.string(),
  key_id: z.string(),
  route: z.string(),
  /** The adapter's name; null: the bare base model. */
  adapter: z.nullable(z.string()),
  digest: z.nullable(z.string()),
  /** Fingerprint of the base model. */
  base: z.string(),
  prompt_tokens: z.int(),
  cached_tokens: z.int(),
  completion_tokens: z.int(),
  tier: z.nullable(Tier),
  /** 1: the adapter's bytes had to be pushed to the backend first. */
  cold: z.int(),
  backend: z.string(),
  outcome: Outcome,
  /** Milliseconds since the epoch. */
  started_ms: z.number(),
  ttft_ms: z.nullable(z.number()),
  latency_ms: z.number(),
  /** Billionths of the currency's unit. */
  price_nano: z.int(),
})
export type UsageRecord = z.infer<typeof UsageRecord>

/** The columns of the table `usage`. */
export const USAGE_COLUMNS = z.keyof(UsageRecord).options
