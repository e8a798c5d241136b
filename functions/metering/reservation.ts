// What crosses between a request and its tenant's meter.
import type { GenerateEvent } from '../../gpu-backend/protocol.ts'
import type { Terms } from './terms.ts'

/** A request that wants to begin. */
export interface Reservation {
  readonly requestId: string
  readonly nowMs: number
  /** What it may use at most, as far as can be said before it has run. */
  readonly promptTokens: number
  readonly completionTokens: number
  readonly terms: Terms
  readonly idempotency: IdempotencyKey | undefined
}

/** The caller's `Idempotency-Key`, and a hash of the request that it came with. */
export interface IdempotencyKey {
  readonly key: string
  readonly fingerprint: string
}

/** What is left of the limits, for the x-ratelimit headers; null: no such limit. */
export interface RateState {
  readonly requests: RateLimit | null
  readonly tokens: RateLimit | null
}

export interface RateLimit {
  readonly limit: number
  readonly remaining: number
  /** Until it is full again. */
  readonly resetMs: number
}

/** An answer that was given before, to be given again. */
export interface StoredAnswer {
  readonly requestId: string
  readonly createdMs: number
  readonly events: readonly GenerateEvent[]
}

export type ReserveAnswer =
  | { readonly kind: 'granted'; readonly rate: RateState }
  | {
      readonly kind: 'limited'
      readonly by: 'requests' | 'tokens'
      readonly retryAfterMs: number
      readonly rate: RateState
    }
  | { readonly kind: 'unpaid' }
  | { readonly kind: 'replay'; readonly answer: StoredAnswer }
  /** The same Idempotency-Key is being answered now, or came with another request. */
  | { readonly kind: 'in_progress' | 'other_request' }
