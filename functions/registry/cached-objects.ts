// Delta files as the backends are given them: from the cache of this data centre, else from object storage.
// A digest never means other bytes, so a copy is right for as long as it is kept; the backend checks the hash either way.
// Knows no tenants. Where there is no cache (a workers.dev address) everything comes from storage.
import type { Digest } from '../../gpu-backend/protocol.ts'
import { type ObjectStore, objectKey } from './objects.ts'

const CACHE = 'polylora-deltas'
/** So long a copy of a deleted delta may live on in another data centre, where nothing leads to it. */
const CACHE_LIFE_S = 3600
/** Workers' limit for one entry. */
const MAX_CACHED_BYTES = 512 * 1024 ** 2

interface OpenObject {
  readonly body: ReadableStream<Uint8Array>
  readonly bytes: number
  readonly cached: boolean
}

export class CachedObjects {
  readonly #store: ObjectStore

  constructor(store: ObjectStore) {
    this.#store = store
  }

  /** The object's bytes and their number, or undefined where storage has none. */
  async tryOpen(digest: Digest): Promise<OpenObject | undefined> {
    const cache = await caches.open(CACHE)
    const copy = await cache.match(cacheUrl(digest))
    const bytes = Number(copy?.headers.get('content-length'))
    if (copy?.body && bytes > 0) return { body: copy.body, bytes, cached: true }
    const object = await this.#store.tryOpen(digest)
    return object && { ...object, cached: false }
  }

  /** Copies the object into the cache. In the background, from storage anew, so that no backend waits for the cache. */
  async remember(digest: Digest): Promise<void> {
    const object = await this.#store.tryOpen(digest)
    if (!object) return
    if (object.bytes > MAX_CACHED_BYTES) return object.body.cancel()
    const headers = { 'cache-control': `max-age=${CACHE_LIFE_S}`, 'content-length': String(object.bytes) }
    const cache = await caches.open(CACHE)
    await cache.put(
      cacheUrl(digest),
      new Response(object.body.pipeThrough(new FixedLengthStream(object.bytes)), { headers }),
    )
  }

  /** Removes the objects from storage, and this data centre's copies. */
  async delete(digests: readonly Digest[]): Promise<void> {
    await this.#store.delete(digests)
    await this.forget(digests)
  }

  /** Removes this data centre's copies. */
  async forget(digests: readonly Digest[]): Promise<void> {
    const cache = await caches.open(CACHE)
    await Promise.all(digests.map((digest) => cache.delete(cacheUrl(digest))))
  }
}

/** No such host exists: the address is a key and no more. */
function cacheUrl(digest: Digest): string {
  return `https://deltas.invalid/${objectKey('deltas', digest)}`
}
