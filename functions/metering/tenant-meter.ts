// The meter of one tenant: a Durable Object that grants requests under the tenant's terms and settles what they used.
// Knows no names, keys or bytes. Invariants: a request is settled once; a record leaves the outbox only once D1 has it;
// a request that nobody settles is closed here, with what was last heard of it.
import { DurableObject } from 'cloudflare:workers'
import type { GenerateEvent } from '../../gpu-backend/protocol.ts'
import type { Bindings } from '../env.ts'
import { type Bucket, refilled, waitMs } from './bucket.ts'
import type { RateLimit, RateState, Reservation, ReserveAnswer } from './reservation.ts'
import { priceNano, type Terms } from './terms.ts'
import { USAGE_COLUMNS, type UsageRecord } from './usage-record.ts'

const FLUSH_AFTER_MS = 500
const FLUSH_BATCH = 100
const RETRY_FLUSH_MS = 2_000
/** A request of which nothing was heard for so long has lost its edge. */
const LEASE_MS = 180_000
/** How long settled requests and stored answers are remembered. */
const REMEMBER_MS = 24 * 3_600_000
const SCHEMA = `
  CREATE TABLE IF NOT EXISTS buckets (name TEXT PRIMARY KEY, level REAL NOT NULL, at_ms INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS credits (id TEXT PRIMARY KEY, amount_nano INTEGER NOT NULL, created_ms INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS balance (one INTEGER PRIMARY KEY CHECK (one = 1), nano INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS open_requests (
    request_id TEXT PRIMARY KEY, heard_ms INTEGER NOT NULL, tokens INTEGER NOT NULL, hold_nano INTEGER NOT NULL,
    terms TEXT NOT NULL, idempotency_key TEXT, record TEXT);
  CREATE TABLE IF NOT EXISTS settled (request_id TEXT PRIMARY KEY, settled_ms INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS outbox (request_id TEXT PRIMARY KEY, record TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, request_id TEXT NOT NULL, created_ms INTEGER NOT NULL, events TEXT);
`

type OpenRequest = {
  tokens: number
  hold_nano: number
  terms: string
  idempotency_key: string | null
  record: string | null
}
type AnswerRow = { fingerprint: string; request_id: string; created_ms: number; events: string | null }

export class TenantMeter extends DurableObject<Bindings> {
  readonly #sql: SqlStorage
  readonly #leaseMs: number

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env)
    this.#sql = ctx.storage.sql
    this.#leaseMs = Number(env.METER_LEASE_MS ?? LEASE_MS)
    this.#sql.exec(SCHEMA)
  }

  /** Opens a request where the tenant's limits and balance allow it; asks for nothing a second time. */
  async reserve(reservation: Reservation): Promise<ReserveAnswer> {
    const { requestId, nowMs, terms, idempotency } = reservation
    const answer = this.ctx.storage.transactionSync((): ReserveAnswer => {
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
      this.#sql.exec(
        'INSERT INTO open_requests (request_id, heard_ms, tokens, hold_nano, terms, idempotency_key) VALUES (?, ?, ?, ?, ?, ?)',
        ...[requestId, nowMs, tokens, hold, JSON.stringify(terms), idempotency?.key ?? null],
      )
      if (idempotency) {
        this.#sql.exec(
          'INSERT INTO answers (key, fingerprint, request_id, created_ms) VALUES (?, ?, ?, ?)',
          ...[idempotency.key, idempotency.fingerprint, requestId, nowMs],
        )
      }
      return { kind: 'granted', rate: this.#rate(terms, nowMs) }
    })
    if (answer.kind === 'granted') await this.#wake(nowMs + this.#leaseMs)
    return answer
  }

  /** What the request has used so far, should its edge never come back. */
  async hear(record: UsageRecord, nowMs: number): Promise<void> {
    this.#sql.exec(
      'UPDATE open_requests SET heard_ms = ?, record = ? WHERE request_id = ?',
      ...[nowMs, JSON.stringify(record), record.request_id],
    )
  }

  /** Closes a request that cost nothing; its Idempotency-Key may be tried again. */
  async release(requestId: string, nowMs: number): Promise<void> {
    this.ctx.storage.transactionSync(() => this.#close(requestId, 0, nowMs, undefined))
  }

  /**
   * Closes a request with what it used; a second settlement of the same request changes nothing. `events`, where given,
   * are kept to answer the same Idempotency-Key again.
   */
  async settle(record: UsageRecord, nowMs: number, events?: readonly GenerateEvent[]): Promise<void> {
    this.ctx.storage.transactionSync(() => this.#settle(record, nowMs, events))
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
  }

  /** Moves the outbox to D1, closes what lost its edge, forgets what is old. */
  override async alarm(): Promise<void> {
    const nowMs = Date.now()
    this.#closeLost(nowMs)
    this.#sql.exec('DELETE FROM settled WHERE settled_ms < ?', nowMs - REMEMBER_MS)
    this.#sql.exec('DELETE FROM answers WHERE created_ms < ?', nowMs - REMEMBER_MS)
    try {
      if (await this.#flush()) await this.#wake(nowMs + FLUSH_AFTER_MS)
    } catch (error) {
      console.error(JSON.stringify({ event: 'usage_flush_failed', reason: String(error) }))
      await this.#wake(nowMs + RETRY_FLUSH_MS)
    }
    const next = this.#first<{ at: number | null }>('SELECT MIN(heard_ms) AS at FROM open_requests')?.at
    if (typeof next === 'number') await this.#wake(next + this.#leaseMs)
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
    if (row.events === null) return { kind: 'in_progress' }
    const { request_id: requestId, created_ms: createdMs } = row
    return { kind: 'replay', answer: { requestId, createdMs, events: JSON.parse(row.events) } }
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
    const row = this.#first<{ level: number; at_ms: number }>('SELECT level, at_ms FROM buckets WHERE name = ?', name)
    return refilled(row && { level: row.level, atMs: row.at_ms }, perMinute, nowMs)
  }

  #draw(name: string, perMinute: number, amount: number, nowMs: number): void {
    const { level } = this.#bucket(name, perMinute, nowMs)
    const left = Math.min(perMinute, level - amount)
    this.#sql.exec('INSERT OR REPLACE INTO buckets VALUES (?, ?, ?)', name, left, nowMs)
  }

  #settle(record: UsageRecord, nowMs: number, events: readonly GenerateEvent[] | undefined): void {
    const first = this.#sql.exec('INSERT OR IGNORE INTO settled VALUES (?, ?)', record.request_id, nowMs)
    if (first.rowsWritten === 0) return
    const used = record.prompt_tokens + record.completion_tokens
    const terms = this.#close(record.request_id, used, nowMs, events)
    const price = terms && record.outcome !== 'failed' ? priceNano(terms, record) : 0
    this.#pay(price)
    this.#sql.exec(
      'INSERT INTO outbox VALUES (?, ?)',
      ...[record.request_id, JSON.stringify({ ...record, price_nano: price })],
    )
  }

  /** Ends the reservation: what it did not use goes back to the bucket. Undefined where it is closed already. */
  #close(
    requestId: string,
    used: number,
    nowMs: number,
    events: readonly GenerateEvent[] | undefined,
  ): Terms | undefined {
    const open = this.#first<OpenRequest>('SELECT * FROM open_requests WHERE request_id = ?', requestId)
    if (!open) return undefined
    this.#sql.exec('DELETE FROM open_requests WHERE request_id = ?', requestId)
    const terms: Terms = JSON.parse(open.terms)
    if (terms.tokens_per_minute !== null) this.#draw('tokens', terms.tokens_per_minute, used - open.tokens, nowMs)
    if (events) {
      this.#sql.exec('UPDATE answers SET events = ? WHERE request_id = ?', JSON.stringify(events), requestId)
    } else {
      this.#sql.exec('DELETE FROM answers WHERE request_id = ?', requestId)
    }
    return terms
  }

  #closeLost(nowMs: number): void {
    const lost = this.#sql
      .exec<{ request_id: string; record: string | null }>(
        'SELECT request_id, record FROM open_requests WHERE heard_ms <= ?',
        nowMs - this.#leaseMs,
      )
      .toArray()
    for (const { request_id: requestId, record } of lost) {
      this.ctx.storage.transactionSync(() => {
        if (record === null) this.#close(requestId, 0, nowMs, undefined)
        else this.#settle({ ...JSON.parse(record), outcome: 'lost' }, nowMs, undefined)
      })
    }
  }

  #balance(): number {
    return this.#first<{ nano: number }>('SELECT nano FROM balance')?.nano ?? 0
  }

  #available(): number {
    const held = this.#first<{ nano: number | null }>('SELECT SUM(hold_nano) AS nano FROM open_requests')?.nano ?? 0
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
    if (set === null || set > atMs) await this.ctx.storage.setAlarm(atMs)
  }
}
