// The JSON bodies of the adapter routes.
import * as z from 'zod/mini'
import { Digest } from '../../gpu-backend/protocol.ts'
import { MAX_PARTS } from '../registry/objects.ts'

/** What the publisher found out about a version; kept and shown as it is. */
export const Report = z.record(z.string(), z.unknown())

/** The highest number of the parts that the client puts into the bucket itself. */
export const DirectUpload = z.object({ last_part: z.int().check(z.gte(1), z.lte(MAX_PARTS)) })

export const AliasMove = z.object({ digest: Digest, from: z.optional(Digest) })

/** `weight` is the share of the requests that go to `digest`. */
export const Canary = z.object({ digest: Digest, weight: z.number().check(z.gte(0), z.lte(1)) })
