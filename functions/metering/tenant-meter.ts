// The meter of one tenant: a Durable Object that knows which requests are open and what each finished one used.
// Knows no names, keys or bytes. Invariant: a request id is settled once; a record leaves the outbox only once D1 has it.
import { DurableObject } from 'cloudflare:workers'
import type { Bindings } from '../env.ts'
import { USAGE_COLUMNS, type UsageRecord } from './usage-record.ts'

const FLUSH_AFTER_MS = 500
const FLUSH_BATCH = 100
const RETRY_FLUSH_MS = 5_000
/** Reservations outlive any request; one that is never settled is given up then. */
const RESERVATION_LIFE_MS = 15 * 60_000

export class TenantMeter extends DurableObject<Bindings> {
  readonly #sql: SqlStorage

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env)
    this.#sql = ctx.storage.sql
    this.#sql.exec(`
      CREATE TABLE IF NOT EXISTS reservations (request_id TEXT PRIMARY KEY, created_ms INTEGER NOT NULL);
      CREATE TABLE IF NOT EXISTS settled (request_id TEXT PRIMARY KEY, settled_ms INTEGER NOT NULL);
      CREATE TABLE IF NOT EXISTS outbox (request_id TEXT PRIMARY KEY, record TEXT NOT NULL);
    `)
  }

  /** Opens a request. */
  async reserve(requestId: string, nowMs: number): Promise<void> {
    this.#sql.exec('INSERT OR IGNORE INTO reservations VALUES (?, ?)', requestId, nowMs)
  }

  /** Closes a request that cost nothing. */
  async release(requestId: string): Promise<void> {
    this.#sql.exec('DELETE FROM reservations WHERE request_id = ?', requestId)
  }

  /** Closes a request with what it used. A second settlement of the same request changes nothing. */
  async settle(record: UsageRecord, nowMs: number): Promise<void> {
    const first = this.ctx.storage.transactionSync(() => {
      const { rowsWritten } = this.#sql.exec('INSERT OR IGNORE INTO settled VALUES (?, ?)', record.request_id, nowMs)
      if (rowsWritten === 0) return false
      this.#sql.exec('DELETE FROM reservations WHERE request_id = ?', record.request_id)
      this.#sql.exec('INSERT INTO outbox VALUES (?, ?)', record.request_id, JSON.stringify(record))
      return true
    })
    if (first && (await this.ctx.storage.getAlarm()) === null) {
      await this.ctx.storage.setAlarm(nowMs + FLUSH_AFTER_MS)
    }
  }

  /** Moves what is in the outbox to D1; a failure leaves it there for the next alarm. */
  override async alarm(): Promise<void> {
    const nowMs = Date.now()
    this.#forget(nowMs)
    const rows = this.#sql
      .exec<{ request_id: string; record: string }>('SELECT request_id, record FROM outbox LIMIT ?', FLUSH_BATCH)
      .toArray()
    if (rows.length === 0) return
    const marks = USAGE_COLUMNS.map(() => '?').join(', ')
    const insert = this.env.DB.prepare(`INSERT OR IGNORE INTO usage (${USAGE_COLUMNS.join(', ')}) VALUES (${marks})`)
    try {
      await this.env.DB.batch(
        rows.map(({ record }) => {
          const usage: UsageRecord = JSON.parse(record)
          return insert.bind(...USAGE_COLUMNS.map((column) => usage[column]))
        }),
      )
    } catch (error) {
      console.error(JSON.stringify({ event: 'usage_flush_failed', records: rows.length, reason: String(error) }))
      await this.ctx.storage.setAlarm(nowMs + RETRY_FLUSH_MS)
      return
    }
    for (const { request_id: id } of rows) this.#sql.exec('DELETE FROM outbox WHERE request_id = ?', id)
    const more = this.#sql.exec('SELECT 1 FROM outbox LIMIT 1').toArray().length > 0
    if (more) await this.ctx.storage.setAlarm(Date.now() + FLUSH_AFTER_MS)
  }

  #forget(nowMs: number): void {
    const before = nowMs - RESERVATION_LIFE_MS
    this.#sql.exec('DELETE FROM reservations WHERE created_ms < ?', before)
    this.#sql.exec('DELETE FROM settled WHERE settled_ms < ?', before)
  }
}
