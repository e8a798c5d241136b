// Where files are kept, by digest, and the parts of deltas that are still being uploaded: what any object storage must do for
// us. Knows no names. Invariant: what is stored under a digest hashes to it; the store itself refuses anything else.
import type { Digest } from '../../gpu-backend/protocol.ts'

/** The largest delta file that is taken; each backend may set a lower limit of its own. */
export const MAX_DELTA_BYTES = 2 * 1024 ** 3
/** Far below what Cloudflare lets one request carry (100 MB), and little to send again. */
export const PART_BYTES = 16 * 1024 ** 2
export const MAX_PARTS = MAX_DELTA_BYTES / PART_BYTES

/** So long a store may take to begin an answer that a customer waits for: R2 and the S3 SDK by themselves wait for ever. */
export const STORE_PATIENCE_MS = 10_000

/** `deltas`: customers' canonical delta files. `browser`: the base model's files, as browsers download them. */
export type Folder = 'deltas' | 'browser'

/** The object's key: `deltas/sha256/<hex>`. */
export function objectKey(folder: Folder, digest: Digest): string {
  return `${folder}/${digest.replace(':', '/')}`
}

/** The SHA-256 that a digest is, in hex. */
export function hashOf(digest: Digest): string {
  return digest.slice('sha256:'.length)
}

/** Bytes `start` to `end`, both included. */
export interface ByteRange {
  readonly start: number
  readonly end: number
}

/** A delta that arrives in parts: whose it is, and the digest of all parts together. Parts of one tenant are no other's. */
export interface Upload {
  readonly tenant: string
  readonly digest: Digest
}

export interface PartKey extends Upload {
  /** Counted from 1. */
  readonly part: number
}

/** The key of a part: `uploads/<tenant>/<hex>/<number>`; five digits, so that a listing has them in order. */
export function partKey(key: PartKey): string {
  return `${partsPrefix(key)}${String(key.part).padStart(5, '0')}`
}

export function partsPrefix({ tenant, digest }: Upload): string {
  return `uploads/${tenant}/${hashOf(digest)}/`
}

/** The bytes hash to something else than their digest. */
export class DigestMismatch extends Error {}

export interface ObjectStore {
  /**
   * Streams `body`, which has exactly `bytes` bytes, to storage under `digest`.
   * @throws DigestMismatch where the bytes hash to something else; nothing is stored then
   */
  put(digest: Digest, body: ReadableStream<Uint8Array>, bytes: number): Promise<void>
  /** The object's bytes, or those of `range`, and their number; undefined where storage has none. */
  tryOpen(digest: Digest, range?: ByteRange): Promise<{ body: ReadableStream<Uint8Array>; bytes: number } | undefined>
  /** The object's size; undefined where storage has none. */
  tryGetBytes(digest: Digest): Promise<number | undefined>
  delete(digests: readonly Digest[]): Promise<void>

  /** As `put`, for a part with a digest of its own; it replaces one that is there. */
  putPart(key: PartKey, digest: Digest, body: ReadableStream<Uint8Array>, bytes: number): Promise<void>
  /** The parts that are there, number -> bytes; parts are sent in order, and none is found behind one that is missing. */
  listParts(upload: Upload): Promise<ReadonlyMap<number, number>>
  tryOpenPart(key: PartKey): Promise<ReadableStream<Uint8Array> | undefined>
  /** All that are there, of which none has a higher number than `lastPart`. */
  deleteParts(upload: Upload, lastPart: number): Promise<void>
}
