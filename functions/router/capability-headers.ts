// The headers by which a backend lets the edge do one thing: a token of its own, and the request's id.
import { type Capability, type CapabilityKey, mintCapability, type Work } from '../../gpu-backend/capability.ts'
import { type Digest, REQUEST_ID_HEADER } from '../../gpu-backend/protocol.ts'

/** One request's way to a backend; what takes longer gets another. */
const TOKEN_LIFE_MS = 60_000
const NO_WORK: Capability['limits'] = { max_tokens: 0, max_delta_bytes: 0 }

interface Permit {
  readonly work: Work
  readonly tenant: string
  readonly requestId: string
  /** null: none. */
  readonly delta: Digest | null
  readonly nowMs: number
  /** Where it is not given, nothing may be generated or brought. */
  readonly limits?: Capability['limits']
}

export async function capabilityHeaders(
  key: CapabilityKey,
  { work, tenant, requestId, delta, nowMs, limits = NO_WORK }: Permit,
): Promise<{ authorization: string; [REQUEST_ID_HEADER]: string }> {
  const expires_ms = nowMs + TOKEN_LIFE_MS
  const token = await mintCapability(key, { work, tenant, delta, request_id: requestId, expires_ms, limits })
  return { authorization: `Bearer ${token}`, [REQUEST_ID_HEADER]: requestId }
}
