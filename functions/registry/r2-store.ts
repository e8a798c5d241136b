// Object storage in R2, through its binding.
import { type Bindings, ConfigError } from '../env.ts'
import { DigestMismatch, type Folder, type ObjectStore, objectKey } from './objects.ts'

/** @throws ConfigError where the binding is missing */
export function r2Store({ DELTAS: bucket }: Bindings, folder: Folder): ObjectStore {
  if (!bucket) throw new ConfigError('The binding DELTAS is missing: add it to wrangler.toml.')
  return {
    async put(digest, body) {
      try {
        await bucket.put(objectKey(folder, digest), body, {
          sha256: digest.slice('sha256:'.length),
          httpMetadata: { contentType: 'application/octet-stream' },
        })
      } catch (error) {
        // R2's error 10037 (BadDigest): its message is the only mark that survives the binding.
        if (error instanceof Error && /10037|did not match|BadDigest/i.test(error.message)) throw new DigestMismatch()
        throw error
      }
    },
    async tryOpen(digest, range) {
      const wanted = range && { offset: range.start, length: range.end + 1 - range.start }
      const object = await bucket.get(objectKey(folder, digest), wanted ? { range: wanted } : {})
      return object ? { body: object.body, bytes: wanted?.length ?? object.size } : undefined
    },
    async delete(digests) {
      if (digests.length > 0) await bucket.delete(digests.map((digest) => objectKey(folder, digest)))
    },
  }
}
