// A tenant's limits at this moment: one bucket of requests and one of tokens, in memory. What is drawn is written down, since
// a meter at rest is soon forgotten, and nobody waits for that.
import { type Bucket, refilled, waitMs } from './bucket.ts'
import type { Limited, RateLimit, RateState } from './reservation.ts'
import type { Terms } from './terms.ts'
import { UNCONFIRMED } from './unconfirmed.ts'

/** Prefix of the keys under which buckets are kept. */
const BUCKET = 'bucket:'

export class Limits {
  readonly #storage: Pick<DurableObjectStorage, 'list' | 'put'>
  readonly #buckets = new Map<string, Bucket>()

  constructor(storage: Pick<DurableObjectStorage, 'list' | 'put'>) {
    this.#storage = storage
  }

  /** What was left of them when they were drawn from last. */
  async load(): Promise<void> {
    const kept = await this.#storage.list<Bucket>({ prefix: BUCKET })
    for (const [key, bucket] of kept) this.#buckets.set(key.slice(BUCKET.length), bucket)
  }

  /** Takes one request and so many tokens, both or neither: the refusal where one of them is not there. */
  take(terms: Terms, tokens: number, nowMs: number): Limited | undefined {
    const wants = [
      ['requests', terms.requests_per_minute, 1],
      ['tokens', terms.tokens_per_minute, tokens],
    ] as const
    for (const [by, perMinute, amount] of wants) {
      if (perMinute === null) continue
      const retryAfterMs = waitMs(this.#bucket(by, perMinute, nowMs), perMinute, amount)
      if (retryAfterMs > 0) return { kind: 'limited', by, retryAfterMs, rate: this.rate(terms, nowMs) }
    }
    for (const [by, perMinute, amount] of wants) if (perMinute !== null) this.#draw(by, perMinute, amount, nowMs)
    return undefined
  }

  /** Draws what was used beyond what was taken, or gives back what was not. */
  correct(terms: Terms, tokens: number, nowMs: number): void {
    if (terms.tokens_per_minute !== null) this.#draw('tokens', terms.tokens_per_minute, tokens, nowMs)
  }

  rate(terms: Terms, nowMs: number): RateState {
    const state = (name: string, perMinute: number | null): RateLimit | null => {
      if (perMinute === null) return null
      const bucket = this.#bucket(name, perMinute, nowMs)
      const remaining = Math.max(0, Math.floor(bucket.level))
      return { limit: perMinute, remaining, resetMs: waitMs(bucket, perMinute, perMinute) }
    }
    return { requests: state('requests', terms.requests_per_minute), tokens: state('tokens', terms.tokens_per_minute) }
  }

  #bucket(name: string, perMinute: number, nowMs: number): Bucket {
    return refilled(this.#buckets.get(name), perMinute, nowMs)
  }

  #draw(name: string, perMinute: number, amount: number, nowMs: number): void {
    const { level, atMs } = this.#bucket(name, perMinute, nowMs)
    // What is given back may be more than has room by now: the bucket is no fuller when it is looked at next.
    const bucket = { level: level - amount, atMs }
    this.#buckets.set(name, bucket)
    this.#storage.put(`${BUCKET}${name}`, bucket, UNCONFIRMED)
  }
}
