// A tenant's limits at this moment: one bucket of requests and one of tokens, in memory.
// What is drawn is written down by `save`: whoever grants doesn't wait for that, since an answer waits for its writes.
import { type Bucket, refilled, waitMs } from './bucket.ts'
import type { Limited, RateLimit, RateState } from './reservation.ts'
import type { Terms } from './terms.ts'

const SCHEMA = 'CREATE TABLE IF NOT EXISTS buckets (name TEXT PRIMARY KEY, level REAL NOT NULL, at_ms INTEGER NOT NULL)'

export class Limits {
  readonly #sql: SqlStorage
  readonly #buckets = new Map<string, Bucket>()

  constructor(sql: SqlStorage) {
    this.#sql = sql
    sql.exec(SCHEMA)
    for (const row of sql.exec<{ name: string; level: number; at_ms: number }>('SELECT * FROM buckets')) {
      this.#buckets.set(row.name, { level: row.level, atMs: row.at_ms })
    }
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

  save(): void {
    for (const [name, { level, atMs }] of this.#buckets) {
      this.#sql.exec('INSERT OR REPLACE INTO buckets VALUES (?, ?, ?)', name, level, atMs)
    }
  }

  #bucket(name: string, perMinute: number, nowMs: number): Bucket {
    return refilled(this.#buckets.get(name), perMinute, nowMs)
  }

  #draw(name: string, perMinute: number, amount: number, nowMs: number): void {
    const { level, atMs } = this.#bucket(name, perMinute, nowMs)
    this.#buckets.set(name, { level: Math.min(perMinute, level - amount), atMs })
  }
}
