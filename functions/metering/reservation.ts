// What crosses between a request and its tenant's meter.
import type { Digest, GenerateEvent } from '../../gpu-backend/protocol.ts'
import type { Terms } from './terms.ts'
import type { UsageRecord } from './usage-record.ts'

/** A request that wants to begin. */
export interface Reservation {
  readonly requestId: string
  readonly nowMs: number
  /** When its tenant was created. */
  readonly sinceMs: number
  /** What it will use, as far as can be said before it has run: what the limits are asked for. */
  readonly promptTokens: number
  readonly completionTokens: number
  /** The most that it can cost, held while it runs. */
  readonly mostNano: number
  readonly terms: Terms
  readonly idempotency: IdempotencyKey | undefined
}

/** What a request has used, as its meter is told while it runs and when it ends. */
export interface Account {
  readonly record: UsageRecord
  /** As a reservation's. */
  readonly sinceMs: number
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

/** What is kept of an answer for its Idempotency-Key: a generation's events, or an embedding. */
export type KeptAnswer = readonly GenerateEvent[] | KeptEmbedding

export interface KeptEmbedding {
  readonly digest: Digest | null
  readonly promptTokens: number
  /** Each vector as little-endian f32 in base64. */
  readonly vectors: readonly string[]
}

/** In place of an answer that was charged, but is too large to be kept. */
export type TooLarge = 'too_large'

/** An answer that was given before, to be given again. */
export interface StoredAnswer {
  readonly requestId: string
  readonly createdMs: number
  readonly kept: KeptAnswer
}

export type ReserveAnswer =
  | { readonly kind: 'granted'; readonly rate: RateState }
  | Limited
  | { readonly kind: 'unpaid' | 'erased' }
  | KeyTaken

export interface Limited {
  readonly kind: 'limited'
  readonly by: 'requests' | 'tokens'
  readonly retryAfterMs: number
  readonly rate: RateState
}

/** The same Idempotency-Key brought an answer, is being answered now, came with another request, or its answer is not kept. */
export type KeyTaken =
  | { readonly kind: 'replay'; readonly answer: StoredAnswer }
  | { readonly kind: 'in_progress' | 'other_request' | TooLarge }

/** What became of a payment. */
export type CreditAnswer =
  | { readonly kind: 'credited'; readonly balanceNano: number }
  /** Came under its id before. */
  | { readonly kind: 'other_amount' }
  /** Its tenant has been deleted. */
  | { readonly kind: 'erased' }
