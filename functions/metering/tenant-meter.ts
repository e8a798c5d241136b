// The meter of one tenant: a Durable Object that grants requests under the tenant's terms and settles what they used.
// Knows no names, keys or bytes. Invariants: a request is settled once; a record leaves the outbox only once D1 has it;
// a request that nobody settles is closed here, with what was last heard of it.
// Granting writes nothing, since a Durable Object's answer waits for its writes: reservations live in memory until the
// backend has begun. A meter that restarts before forgets them, and gives at most a minute's allowance too much.
import { DurableObject } from 'cloudflare:workers'
import type { Bindings } from '../env.ts'
import { type Bucket, refilled, waitMs } from './bucket.ts'
import type { KeptAnswer, RateLimit, RateState, Reservation, ReserveAnswer, TooLarge } from './reservation.ts'
import { priceNano, type Terms } from './terms.ts'
import { USAGE_COLUMNS, type UsageRecord } from './usage-record.ts'

const FLUSH_AFTER_MS = 500
const FLUSH_BATCH = 100
const RETRY_FLUSH_MS = 2_000
/** A request of which nothing was heard for so long has lost its edge. */
const LEASE_MS = 180_000
/** How long settled requests and stored answers are remembered. */
const REMEMBER_MS = 24 * 3_600_000
const FORGET_EVERY_MS = 600_000
/** Prefix of the keys under which requests that run are kept. */
const RUNNING = 'running:'
/** Nobody's answer waits for such a write: it may be lost, with no more harm than a few seconds' tokens. */
const UNCONFIRMED = { allowUnconfirmed: true }
const SCHEMA = `
  CREATE TABLE IF NOT EXISTS buckets (name TEXT PRIMARY KEY, level REAL NOT NULL, at_ms INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS credits (id TEXT PRIMARY KEY, amount_nano INTEGER NOT NULL, created_ms INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS balance (one INTEGER PRIMARY KEY CHECK (one = 1), nano INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS settled (request_id TEXT PRIMARY KEY, settled_ms INTEGER NOT NULL);
  CREATE INDEX IF NOT EXISTS settled_by_time ON settled (settled_ms);
  CREATE TABLE IF NOT EXISTS outbox (request_id TEXT PRIMARY KEY, record TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, request_id TEXT NOT NULL, created_ms INTEGER NOT NULL, events TEXT);
`

interface OpenRequest {
  /** When anything was last heard of it; milliseconds since the epoch. */
  readonly heardMs: number
  /** Taken from the bucket of tokens. */
  readonly tokens: number
  readonly hold: number
  readonly terms: Terms
  /** Absent until a backend has begun. */
  readonly record: UsageRecord | undefined
}
type AnswerRow = { fingerprint: string; request_id: string; created_ms: number; events: string | null }

export class TenantMeter extends DurableObject<Bindings> {
  readonly #sql: SqlStorage
  readonly #leaseMs: number
  readonly #open = new Map<string, OpenRequest>()
  readonly #buckets = new Map<string, Bucket>()
  #forgotMs = 0

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env)
    this.#sql = ctx.storage.sql
    this.#leaseMs = Number(env.METER_LEASE_MS || LEASE_MS)
    this.#sql.exec(SCHEMA)
    ctx.blockConcurrencyWhile(async () => {
      const running = await ctx.storage.list<OpenRequest>({ prefix: RUNNING })
      for (const [key, open] of running) this.#open.set(key.slice(RUNNING.length), open)
      // Whatever was left undone by the one before.
      await this.#wake(Date.now() + FLUSH_AFTER_MS)
    })
    for (const row of this.#sql.exec<{ name: string; level: number; at_ms: number }>('SELECT * FROM buckets')) {
      this.#buckets.set(row.name, { level: row.level, atMs: row.at_ms })
    }
  }

  /** Opens a request where the tenant's limits and balance allow it; the same request again is the same reservation. */
  async reserve(reservation: Reservation): Promise<ReserveAnswer> {
    const { requestId, nowMs, terms, idempotency } = reservation
    this.#releaseUnheard(nowMs)
    if (this.#open.has(requestId)) return { kind: 'granted', rate: this.#rate(terms, nowMs) }
    const known = idempotency && this.#known(idempotency.key, idempotency.fingerprint)
    if (known) return known
    const hold = priceNano(terms, {
      prompt_tokens: reservation.promptTokens,
      cached_tokens: 0,
      completion_tokens: reservation.completionTokens,
    })
    if (terms.billing === 'prepaid' && this.#available() < Math.max(1, hold)) return { kind: 'unpaid' }
    // A request larger than a minute's allowance waits for a full bucket.
    const wanted = reservation.promptTokens + reservation.completionTokens
    const tokens = Math.min(wanted, terms.tokens_per_minute ?? wanted)
    const refusal = this.#take(terms, tokens, nowMs)
    if (refusal) return refusal
    this.#open.set(requestId, { heardMs: nowMs, tokens, hold, terms, record: undefined })
    if (idempotency) {
      this.#sql.exec(
        'INSERT INTO answers (key, fingerprint, request_id, created_ms) VALUES (?, ?, ?, ?)',
        ...[idempotency.key, idempotency.fingerprint, requestId, nowMs],
      )
    }
    return { kind: 'granted', rate: this.#rate(terms, nowMs) }
  }

  /** What the request has used so far, should its edge never come back. */
  async hear(record: UsageRecord, terms: Terms, nowMs: number): Promise<void> {
    const id = record.request_id
    if (this.#first('SELECT 1 FROM settled WHERE request_id = ?', id)) return
    // Absent where this meter has restarted since it granted the request.
    const open = this.#open.get(id) ?? { tokens: 0, hold: 0, terms }
    const heard = { ...open, heardMs: nowMs, record }
    this.#open.set(id, heard)
    this.ctx.storage.put(`${RUNNING}${id}`, heard, UNCONFIRMED)
    await this.#wake(nowMs + this.#leaseMs)
  }

  /** Closes a request that cost nothing; its Idempotency-Key may be tried again. */
  async release(requestId: string, nowMs: number): Promise<void> {
    this.ctx.storage.transactionSync(() => this.#close(requestId, 0, nowMs, undefined))
  }

  /**
   * Closes a request with what it used; a second settlement of the same request changes nothing. `kept`, where given,
   * is there to answer the same Idempotency-Key again.
   */
  async settle(record: UsageRecord, terms: Terms, nowMs: number, kept?: KeptAnswer | TooLarge): Promise<void> {
    this.ctx.storage.transactionSync(() => this.#settle(record, terms, nowMs, kept))
    await this.#wake(nowMs + FLUSH_AFTER_MS)
  }

  /** Adds to the balance (nano units, may be negative); once for each `id`. Returns the balance. */
  async credit(id: string, amountNano: number, nowMs: number): Promise<number> {
    return this.ctx.storage.transactionSync(() => {
      const { rowsWritten } = this.#sql.exec('INSERT OR IGNORE INTO credits VALUES (?, ?, ?)', id, amountNano, nowMs)
      if (rowsWritten > 0) this.#pay(-amountNano)
      return this.#balance()
    })
  }

  /** Nano units: what was paid in less what was used; and what open requests may still use of it. */
  async balance(): Promise<{ balance_nano: number; held_nano: number }> {
    return { balance_nano: this.#balance(), held_nano: this.#balance() - this.#available() }
  }

  /** Forgets everything but the records that D1 lacks, which are written first. */
  async erase(): Promise<void> {
    while (await this.#flush()) {}
    await this.ctx.storage.deleteAlarm()
    await this.ctx.storage.deleteAll()
    this.#sql.exec(SCHEMA)
    this.#open.clear()
    this.#buckets.clear()
  }

  /** Moves the outbox to D1, closes what lost its edge, forgets what is old. */
  override async alarm(): Promise<void> {
    const nowMs = Date.now()
    this.#closeLost(nowMs)
    this.#forgetOld(nowMs)
    try {
      if (await this.#flush()) await this.#wake(nowMs + FLUSH_AFTER_MS)
    } catch (error) {
      console.error(JSON.stringify({ event: 'usage_flush_failed', reason: String(error) }))
      await this.#wake(nowMs + RETRY_FLUSH_MS)
    }
    const heard = [...this.#open.values()].map(({ heardMs }) => heardMs)
    if (heard.length > 0) await this.#wake(Math.min(...heard) + this.#leaseMs)
  }

  /** Writes some of the outbox to D1; true where there is more. */
  async #flush(): Promise<boolean> {
    const rows = this.#sql
      .exec<{ request_id: string; record: string }>('SELECT request_id, record FROM outbox LIMIT ?', FLUSH_BATCH)
      .toArray()
    if (rows.length === 0) return false
    const marks = USAGE_COLUMNS.map(() => '?').join(', ')
    const insert = this.env.DB.prepare(`INSERT OR IGNORE INTO usage (${USAGE_COLUMNS.join(', ')}) VALUES (${marks})`)
    await this.env.DB.batch(
      rows.map(({ record }) => {
        const usage: UsageRecord = JSON.parse(record)
        return insert.bind(...USAGE_COLUMNS.map((column) => usage[column]))
      }),
    )
    for (const { request_id: id } of rows) this.#sql.exec('DELETE FROM outbox WHERE request_id = ?', id)
    return this.#first('SELECT 1 FROM outbox LIMIT 1') !== undefined
  }

  #known(key: string, fingerprint: string): ReserveAnswer | undefined {
    const row = this.#first<AnswerRow>('SELECT * FROM answers WHERE key = ?', key)
    if (!row) return undefined
    if (row.fingerprint !== fingerprint) return { kind: 'other_request' }
    if (row.events === null) {
      if (this.#open.has(row.request_id)) return { kind: 'in_progress' }
      // Nobody is at it any more.
      this.#sql.exec('DELETE FROM answers WHERE key = ?', key)
      return undefined
    }
    const { request_id: requestId, created_ms: createdMs } = row
    const kept: KeptAnswer | TooLarge = JSON.parse(row.events)
    return kept === 'too_large' ? { kind: kept } : { kind: 'replay', answer: { requestId, createdMs, kept } }
  }

  #take(terms: Terms, tokens: number, nowMs: number): ReserveAnswer | undefined {
    const wants = [
      ['requests', terms.requests_per_minute, 1],
      ['tokens', terms.tokens_per_minute, tokens],
    ] as const
    for (const [by, perMinute, amount] of wants) {
      if (perMinute === null) continue
      const retryAfterMs = waitMs(this.#bucket(by, perMinute, nowMs), perMinute, amount)
      if (retryAfterMs > 0) return { kind: 'limited', by, retryAfterMs, rate: this.#rate(terms, nowMs) }
    }
    for (const [by, perMinute, amount] of wants) if (perMinute !== null) this.#draw(by, perMinute, amount, nowMs)
    return undefined
  }

  #rate(terms: Terms, nowMs: number): RateState {
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
    const { level } = this.#bucket(name, perMinute, nowMs)
    this.#buckets.set(name, { level: Math.min(perMinute, level - amount), atMs: nowMs })
  }

  #saveBuckets(): void {
    for (const [name, { level, atMs }] of this.#buckets) {
      this.#sql.exec('INSERT OR REPLACE INTO buckets VALUES (?, ?, ?)', name, level, atMs)
    }
  }

  #settle(record: UsageRecord, terms: Terms, nowMs: number, kept: KeptAnswer | TooLarge | undefined): void {
    const first = this.#sql.exec('INSERT OR IGNORE INTO settled VALUES (?, ?)', record.request_id, nowMs)
    if (first.rowsWritten === 0) return
    const used = record.prompt_tokens + record.completion_tokens
    const agreed = this.#close(record.request_id, used, nowMs, kept) ?? terms
    const price = record.outcome === 'failed' ? 0 : priceNano(agreed, record)
    this.#pay(price)
    this.#sql.exec(
      'INSERT INTO outbox VALUES (?, ?)',
      ...[record.request_id, JSON.stringify({ ...record, price_nano: price })],
    )
  }

  /** Ends the reservation: what it did not use goes back to the bucket. Undefined where it is closed already. */
  #close(requestId: string, used: number, nowMs: number, kept: KeptAnswer | TooLarge | undefined): Terms | undefined {
    const open = this.#open.get(requestId)
    if (!open) return undefined
    this.#open.delete(requestId)
    if (open.record) this.ctx.storage.delete(`${RUNNING}${requestId}`, UNCONFIRMED)
    const { terms } = open
    if (terms.tokens_per_minute !== null) this.#draw('tokens', terms.tokens_per_minute, used - open.tokens, nowMs)
    this.#saveBuckets()
    if (kept) {
      this.#sql.exec('UPDATE answers SET events = ? WHERE request_id = ?', JSON.stringify(kept), requestId)
    } else {
      this.#sql.exec('DELETE FROM answers WHERE request_id = ?', requestId)
    }
    return terms
  }

  #forgetOld(nowMs: number): void {
    if (nowMs - this.#forgotMs < FORGET_EVERY_MS) return
    this.#forgotMs = nowMs
    this.#sql.exec('DELETE FROM settled WHERE settled_ms < ?', nowMs - REMEMBER_MS)
    this.#sql.exec('DELETE FROM answers WHERE created_ms < ?', nowMs - REMEMBER_MS)
  }

  #closeLost(nowMs: number): void {
    for (const [requestId, { heardMs, record, terms }] of this.#open) {
      if (heardMs > nowMs - this.#leaseMs) continue
      this.ctx.storage.transactionSync(() => {
        if (record) this.#settle({ ...record, outcome: 'lost' }, terms, nowMs, undefined)
        else this.#close(requestId, 0, nowMs, undefined)
      })
    }
  }

  /** Reservations that never came to run set no alarm: the next one sweeps them up. */
  #releaseUnheard(nowMs: number): void {
    const before = nowMs - this.#leaseMs
    for (const [requestId, { heardMs, record }] of this.#open) {
      // In the order of their beginning: behind the first young one are only younger ones, or ones that run.
      if (heardMs > before) break
      if (!record) this.#close(requestId, 0, nowMs, undefined)
    }
  }

  #balance(): number {
    return this.#first<{ nano: number }>('SELECT nano FROM balance')?.nano ?? 0
  }

  #available(): number {
    let held = 0
    for (const { hold } of this.#open.values()) held += hold
    return this.#balance() - held
  }

  #pay(nano: number): void {
    if (nano === 0) return
    this.#sql.exec('INSERT INTO balance VALUES (1, ?) ON CONFLICT DO UPDATE SET nano = nano + excluded.nano', -nano)
  }

  #first<Row extends Record<string, SqlStorageValue>>(query: string, ...values: SqlStorageValue[]): Row | undefined {
    return this.#sql.exec<Row>(query, ...values).toArray()[0]
  }

  /** An alarm at `atMs` at the latest. */
  async #wake(atMs: number): Promise<void> {
    const set = await this.ctx.storage.getAlarm()
    if (set === null || set > atMs) this.ctx.storage.setAlarm(atMs, UNCONFIRMED)
  }
}
