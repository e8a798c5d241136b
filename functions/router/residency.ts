// Which deltas each backend holds, and in which of its tiers. Knows no names.
// A backend that cannot be asked is reported as such: what is missing from the answer of one must not look like nothing.
import { Residency, type ResidencyEntry } from '../../gpu-backend/protocol.ts'
import type { Edge } from '../edge.ts'
import { capabilityHeaders } from './capability-headers.ts'
import { fewAtOnce } from './few-at-once.ts'

const TIMEOUT_MS = 5_000

export interface BackendResidency {
  readonly url: string
  /** Undefined where the backend could not be asked. */
  readonly entries: readonly ResidencyEntry[] | undefined
}

/** Asks every backend. */
export async function askResidency(
  { config }: Edge,
  { tenant, requestId }: { tenant: string; requestId: string },
): Promise<BackendResidency[]> {
  const permit = { work: 'list', tenant, requestId, delta: null, nowMs: Date.now() } as const
  const headers = await capabilityHeaders(config.capabilityKey, permit)
  return await fewAtOnce(config.backends, async (url) => {
    try {
      const signal = AbortSignal.timeout(TIMEOUT_MS)
      const response = await fetch(`${url}/v1/residency`, { headers, signal })
      if (!response.ok) throw new Error(`status ${response.status}`)
      return { url, entries: Residency.parse(await response.json()).adapters }
    } catch (error) {
      console.warn(JSON.stringify({ event: 'residency_failed', backend: url, reason: String(error) }))
      return { url, entries: undefined }
    }
  })
}
