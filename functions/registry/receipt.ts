// The receipt of a deleted tenant: what was erased. It names keys by their id, and holds nothing of what was erased.
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
  kept: z.string(),
})
export type Receipt = z.infer<typeof Receipt>
