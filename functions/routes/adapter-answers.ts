// What the adapter routes answer.
import * as z from 'zod/mini'
import { Digest } from '../../gpu-backend/protocol.ts'
import { Report } from './adapter-requests.ts'

/** What publishing has read from a delta file's header; kept with the version. */
export const DeltaSummary = z.object({
  /** Fingerprint of the base that it is made for. */
  base: z.string(),
  source_format: z.string(),
  dtype: z.string(),
  rank: z.int(),
  modules: z.int(),
  chat_template: z.boolean(),
})
export type DeltaSummary = z.infer<typeof DeltaSummary>

export const Version = z.object({
  /** `tenant/name`. */
  id: z.string(),
  object: z.literal('adapter'),
  digest: Digest,
  bytes: z.int(),
  ...DeltaSummary.shape,
  created_ms: z.number(),
})
export type Version = z.infer<typeof Version>

export const PublishedVersion = z.object({
  ...Version.shape,
  /** When the name moved last. */
  updated_ms: z.number(),
})
export type PublishedVersion = z.infer<typeof PublishedVersion>

/** With the version that it points at. */
export const AdapterSummary = z.object({
  ...PublishedVersion.shape,
  /** Whether a browser may download its deltas. */
  may_leave: z.boolean(),
})
export type AdapterSummary = z.infer<typeof AdapterSummary>

export const Adapter = z.object({
  ...AdapterSummary.shape,
  previous_digest: z.nullable(Digest),
  canary: z.nullable(z.object({ digest: Digest, weight: z.number() })),
  report: z.nullable(Report),
  versions: z.array(Version),
})
export type Adapter = z.infer<typeof Adapter>

export const AdapterDeleted = z.object({
  id: z.string(),
  object: z.literal('adapter.deleted'),
  deleted: z.literal(true),
  /** Those that the tenant has no more: no other name of its own has them. */
  erased: z.array(Digest),
})
export type AdapterDeleted = z.infer<typeof AdapterDeleted>

export const UploadState = z.object({
  object: z.literal('upload'),
  digest: Digest,
  /** How large a part may be. */
  part_bytes: z.int(),
  parts: z.array(z.object({ part: z.int(), bytes: z.int() })),
})
export type UploadState = z.infer<typeof UploadState>

export const MayLeave = z.object({ id: z.string(), object: z.literal('adapter'), may_leave: z.boolean() })
export type MayLeave = z.infer<typeof MayLeave>
