// The JSON bodies of the adapter routes. Invariant: a field that is not known is refused: a misspelt `from` would let a name
// move that somebody else has moved meanwhile.
import * as z from 'zod/mini'
import { Digest } from '../../gpu-backend/protocol.ts'
import { MAX_PARTS } from '../registry/objects.ts'

/** What the publisher found out about a version; kept and shown as it is. */
export const Report = z.record(z.string(), z.unknown())

/** The highest number of the parts that the client puts into the bucket itself. */
export const DirectUpload = z.strictObject({ last_part: z.int().check(z.gte(1), z.lte(MAX_PARTS)) })

export const AliasMove = z.strictObject({ digest: Digest, from: z.optional(Digest) })

/** `weight` is the share of the requests that go to `digest`. */
export const Canary = z.strictObject({ digest: Digest, weight: z.number().check(z.gte(0), z.lte(1)) })
