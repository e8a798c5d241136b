// Object storage in R2, through its binding.
import type { Digest } from '../../gpu-backend/protocol.ts'
import { type Bindings, ConfigError } from '../env.ts'
import {
  DigestMismatch,
  type Folder,
  hashOf,
  type ObjectStore,
  objectKey,
  partKey,
  partsPrefix,
  type Upload,
} from './objects.ts'

/** @throws ConfigError where the binding is missing */
export function r2Store({ DELTAS: bucket }: Bindings, folder: Folder): ObjectStore {
  if (!bucket) throw new ConfigError('The binding DELTAS is missing: add it to wrangler.toml.')
  const put = async (key: string, digest: Digest, body: ReadableStream<Uint8Array>) => {
    try {
      await bucket.put(key, body, {
        sha256: hashOf(digest),
        httpMetadata: { contentType: 'application/octet-stream' },
      })
    } catch (error) {
      // R2's error 10037 (BadDigest): its message is the only mark that survives the binding.
      if (error instanceof Error && /10037|did not match|BadDigest/i.test(error.message)) throw new DigestMismatch()
      throw error
    }
  }
  // A thousand at once: more than any upload has parts.
  const partObjects = async (upload: Upload) => (await bucket.list({ prefix: partsPrefix(upload) })).objects
  return {
    put: (digest, body) => put(objectKey(folder, digest), digest, body),
    async tryOpen(digest, range) {
      const wanted = range && { offset: range.start, length: range.end + 1 - range.start }
      const object = await bucket.get(objectKey(folder, digest), wanted ? { range: wanted } : {})
      return object ? { body: object.body, bytes: wanted?.length ?? object.size } : undefined
    },
    async tryGetBytes(digest) {
      return (await bucket.head(objectKey(folder, digest)))?.size
    },
    async delete(digests) {
      if (digests.length > 0) await bucket.delete(digests.map((digest) => objectKey(folder, digest)))
    },
    putPart: (key, digest, body) => put(partKey(key), digest, body),
    async listParts(upload) {
      return new Map((await partObjects(upload)).map(({ key, size }) => [Number(key.slice(-5)), size]))
    },
    async tryOpenPart(key) {
      return (await bucket.get(partKey(key)))?.body
    },
    async deleteParts(upload) {
      const keys = (await partObjects(upload)).map(({ key }) => key)
      if (keys.length > 0) await bucket.delete(keys)
    },
  }
}
