// Where files are kept, by digest: what any object storage must do for us. Knows no names and no tenants.
// Invariant: what is stored under a digest hashes to it; the store itself refuses anything else.
import type { Digest } from '../../gpu-backend/protocol.ts'

/** The largest delta file that is taken; each backend may set a lower limit of its own. */
export const MAX_DELTA_BYTES = 2 * 1024 ** 3

/** `deltas`: customers' canonical delta files. `browser`: the base model's files, as browsers download them. */
export type Folder = 'deltas' | 'browser'

/** The object's key: `deltas/sha256/<hex>`. */
export function objectKey(folder: Folder, digest: Digest): string {
  return `${folder}/${digest.replace(':', '/')}`
}

/** Bytes `start` to `end`, both included. */
export interface ByteRange {
  readonly start: number
  readonly end: number
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
  delete(digests: readonly Digest[]): Promise<void>
}
