// The short-lived capability token by which the edge lets a backend do one thing for one tenant: mint and verify.
// Web Crypto only, so that it runs in workerd and in Node. The backend trusts nothing else in a request.
import * as z from 'zod/mini'
import { Digest } from './protocol.ts'

/** Each route's own: a token for one opens no other. `look`: is the delta here? `list`: which are? */
export const Work = z.enum(['generate', 'embed', 'admit', 'evict', 'look', 'list'])
export type Work = z.infer<typeof Work>

/** What a token allows: `work` with `delta` (null: the bare base model), on behalf of `tenant`, until `expires_ms`. */
export const Capability = z.strictObject({
  work: Work,
  tenant: z.string(),
  delta: z.nullable(Digest),
  request_id: z.string(),
  /** Milliseconds since the epoch. */
  expires_ms: z.int(),
  limits: z.strictObject({
    max_tokens: z.int(),
    max_delta_bytes: z.int(),
  }),
})
export type Capability = z.infer<typeof Capability>

/** An HMAC key; named by its maker because Node and Workers name the type differently. */
export type CapabilityKey = Awaited<ReturnType<typeof crypto.subtle.importKey>>

const MAX_TOKEN_CHARS = 4096
/** Of the secret that the edge and its backends share. */
export const MIN_SECRET_CHARS = 32

/**
 * The HMAC-SHA256 key for `secret`, shared by the edge and its backends.
 * @throws Error when the secret is shorter than MIN_SECRET_CHARS
 */
export async function importCapabilityKey(secret: string): Promise<CapabilityKey> {
  if (secret.length < MIN_SECRET_CHARS) {
    throw new Error(`POLYLORA_BACKEND_SECRET has ${secret.length} characters: use at least ${MIN_SECRET_CHARS}.`)
  }
  const bytes = new TextEncoder().encode(secret)
  return crypto.subtle.importKey('raw', bytes, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign', 'verify'])
}

/** `base64url(JSON payload).base64url(HMAC-SHA256 over the first part)`. */
export async function mintCapability(key: CapabilityKey, capability: Capability): Promise<string> {
  const payload = toBase64Url(new TextEncoder().encode(JSON.stringify(capability)))
  const signature = await crypto.subtle.sign('HMAC', key, new TextEncoder().encode(payload))
  return `${payload}.${toBase64Url(new Uint8Array(signature))}`
}

/** The capability in `token`, or undefined where it is malformed, signed by another key (compared in constant time) or expired at `nowMs`. */
export async function verifyCapability(
  key: CapabilityKey,
  token: string,
  nowMs: number,
): Promise<Capability | undefined> {
  if (token.length > MAX_TOKEN_CHARS) return undefined
  const [payload, signature, ...rest] = token.split('.')
  if (!payload || !signature || rest.length > 0) return undefined
  const signatureBytes = tryFromBase64Url(signature)
  if (!signatureBytes) return undefined
  const valid = await crypto.subtle.verify('HMAC', key, signatureBytes, new TextEncoder().encode(payload))
  if (!valid) return undefined
  const payloadBytes = tryFromBase64Url(payload)
  if (!payloadBytes) return undefined
  const parsed = Capability.safeParse(tryParseJson(new TextDecoder().decode(payloadBytes)))
  return parsed.success && parsed.data.expires_ms > nowMs ? parsed.data : undefined
}

function tryParseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function toBase64Url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replace(/=+$/, '')
}

function tryFromBase64Url(text: string): Uint8Array<ArrayBuffer> | undefined {
  if (!/^[A-Za-z0-9_-]*$/.test(text) || text.length % 4 === 1) return undefined
  return Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (char) => char.charCodeAt(0))
}
