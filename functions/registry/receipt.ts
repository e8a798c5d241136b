// The receipt of a deleted tenant: what was erased. It names keys by their id, says what was paid in and what was left of it, and
// holds nothing else of what was erased.
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
  /** Those that the sweep erases, in the same way, because they are too many for one request. */
  objects_later: z._default(z.array(z.string()), []),
  /** Uploads in parts that were not completed. */
  uploads: z.array(Digest),
  /** How many backends had erased a digest; one that failed is asked again by the sweep, until it answers. */
  backend_caches: z.array(z.object({ digest: Digest, evicted: z.int(), failed: z.int() })),
  /** Billionths of the currency's unit: what was paid in less what was used; null: not noted, as in receipts of before. */
  balance_nano: z._default(z.nullable(z.int()), null),
  /** What was paid in, the oldest first. */
  credits: z._default(z.array(z.object({ id: z.string(), amount_nano: z.int(), created_ms: z.int() })), []),
  kept: z.string(),
})
export type Receipt = z.infer<typeof Receipt>
