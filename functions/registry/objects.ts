// Delta files in object storage, by digest. Knows no names and no tenants.
// Invariant: what is stored under a digest hashes to it; the store itself refuses anything else.
import type { Digest } from '../../gpu-backend/protocol.ts'

/** The largest delta file that is taken; each backend may set a lower limit of its own. */
export const MAX_DELTA_BYTES = 2 * 1024 ** 3

/** The object's key: `deltas/sha256/<hex>`. */
export function objectKey(digest: Digest): string {
  return `deltas/${digest.replace(':', '/')}`
}

/** Thrown by `storeObject` where the bytes hash to something else. */
export class DigestMismatch extends Error {}

/**
 * Streams `body` (exactly `bytes` long) to storage under `digest`.
 * @throws DigestMismatch where the bytes hash to something else; nothing is stored then
 */
export async function storeObject(bucket: R2Bucket, digest: Digest, body: ReadableStream<Uint8Array>): Promise<void> {
  try {
    await bucket.put(objectKey(digest), body, {
      sha256: digest.slice('sha256:'.length),
      httpMetadata: { contentType: 'application/octet-stream' },
    })
  } catch (error) {
    // R2 names its error 10037 (BadDigest); its message is the only mark that survives the binding.
    if (error instanceof Error && /10037|did not match|BadDigest/i.test(error.message)) throw new DigestMismatch()
    throw error
  }
}

/** The object's bytes and length, or undefined where storage has none. */
export async function tryOpenObject(
  bucket: R2Bucket,
  digest: Digest,
): Promise<{ body: ReadableStream<Uint8Array>; bytes: number } | undefined> {
  const object = await bucket.get(objectKey(digest))
  return object ? { body: object.body, bytes: object.size } : undefined
}
