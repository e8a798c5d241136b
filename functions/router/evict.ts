// Removes deltas from the backends' own tiers, so that nothing of what was deleted stays behind on a disk.
// What a backend that is down still holds is named in the answer; no name leads to it, and the sweep asks again.
import { mintCapability } from '../../gpu-backend/capability.ts'
import { type Digest, REQUEST_ID_HEADER } from '../../gpu-backend/protocol.ts'
import type { Edge } from '../edge.ts'

const TOKEN_LIFE_MS = 60_000
const TIMEOUT_MS = 10_000

interface Eviction {
  readonly digest: Digest
  readonly evicted: number
  /** Backends that could not be asked. */
  readonly failed: number
}

export async function evictEverywhere(
  { config }: Edge,
  { tenant, requestId, digests }: { tenant: string; requestId: string; digests: readonly Digest[] },
): Promise<Eviction[]> {
  return await Promise.all(
    digests.map(async (digest) => {
      const token = await mintCapability(config.capabilityKey, {
        tenant,
        delta: digest,
        request_id: requestId,
        expires_ms: Date.now() + TOKEN_LIFE_MS,
        limits: { max_tokens: 0, max_delta_bytes: 0 },
      })
      const headers = { authorization: `Bearer ${token}`, [REQUEST_ID_HEADER]: requestId }
      const asked = await Promise.allSettled(
        config.backends.map(async (url) => {
          const signal = AbortSignal.timeout(TIMEOUT_MS)
          const response = await fetch(`${url}/v1/adapters/${digest}`, { method: 'DELETE', headers, signal })
          await response.body?.cancel()
          if (!response.ok && response.status !== 404) throw new Error(`status ${response.status}`)
        }),
      )
      const evicted = asked.filter(({ status }) => status === 'fulfilled').length
      return { digest, evicted, failed: asked.length - evicted }
    }),
  )
}
