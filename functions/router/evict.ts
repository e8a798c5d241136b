// Removes deltas from the backends' own tiers, so that nothing of what was deleted stays behind on a disk.
// What a backend that is down still holds is named in the answer; no name leads to it, and the sweep asks again.
import type { Digest } from '../../gpu-backend/protocol.ts'
import type { Edge } from '../edge.ts'
import { capabilityHeaders } from './capability-headers.ts'

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
      const permit = { tenant, requestId, delta: digest, nowMs: Date.now() }
      const headers = await capabilityHeaders(config.capabilityKey, permit)
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
