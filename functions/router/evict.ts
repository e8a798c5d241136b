// Removes deltas from the backends' own tiers, so that nothing of what was deleted stays behind on a disk.
// What a backend that is down still holds is counted as failed; no name leads to it, and the sweep asks again.
import type { Digest } from '../../gpu-backend/protocol.ts'
import type { Edge } from '../edge.ts'
import { capabilityHeaders } from './capability-headers.ts'
import { fewAtOnce } from './few-at-once.ts'

const TIMEOUT_MS = 10_000

/** A delta, and the tenant that it was erased for. */
interface Erased {
  readonly tenant: string
  readonly digest: Digest
}

interface Eviction {
  readonly digest: Digest
  readonly evicted: number
  /** Backends that could not be asked. */
  readonly failed: number
}

export async function evictEverywhere(edge: Edge, requestId: string, erased: readonly Erased[]): Promise<Eviction[]> {
  const held = await fewAtOnce(edge.config.backends, (url) => evictFrom(edge, url, requestId, erased))
  return erased.map(({ digest }) => {
    const failed = held.filter((digests) => digests.has(digest)).length
    return { digest, evicted: held.length - failed, failed }
  })
}

/** One after another. Returns those that the backend may still hold. */
async function evictFrom({ config }: Edge, url: string, requestId: string, erased: readonly Erased[]) {
  const held = new Set(erased.map(({ digest }) => digest))
  for (const { tenant, digest } of erased) {
    const permit = { work: 'evict', tenant, requestId, delta: digest, nowMs: Date.now() } as const
    const headers = await capabilityHeaders(config.capabilityKey, permit)
    const signal = AbortSignal.timeout(TIMEOUT_MS)
    const request = fetch(`${url}/v1/adapters/${digest}`, { method: 'DELETE', headers, signal })
    const response = await request.catch(() => undefined)
    // One that does not answer would let as long pass for each of the others.
    if (!response) break
    await response.body?.cancel()
    if (response.ok || response.status === 404) held.delete(digest)
  }
  return held
}
