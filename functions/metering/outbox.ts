// Usage records on their way from a meter's storage to D1.
// Invariant: a record leaves the outbox only once D1 has it, however often it is sent. One that D1 has is final, except that
// of a request which was given up as lost and has been heard of after all.
import { USAGE_COLUMNS, type UsageRecord } from './usage-record.ts'

const SCHEMA = 'CREATE TABLE IF NOT EXISTS outbox (request_id TEXT PRIMARY KEY, record TEXT NOT NULL)'
const BATCH = 100
const UPSERT = `INSERT INTO usage (${USAGE_COLUMNS.join(', ')}) VALUES (${USAGE_COLUMNS.map(() => '?').join(', ')})
  ON CONFLICT (request_id) DO UPDATE SET ${USAGE_COLUMNS.map((column) => `${column} = excluded.${column}`).join(', ')}
  WHERE usage.outcome = 'lost'`

export class Outbox {
  readonly #sql: SqlStorage
  readonly #db: D1Database

  constructor(sql: SqlStorage, db: D1Database) {
    this.#sql = sql
    this.#db = db
    sql.exec(SCHEMA)
  }

  /** Takes the place of a record of the same request that is still here. */
  add(record: UsageRecord): void {
    this.#sql.exec('INSERT OR REPLACE INTO outbox VALUES (?, ?)', record.request_id, JSON.stringify(record))
  }

  /** Writes some of the records to D1; true where there are more. */
  async flush(): Promise<boolean> {
    const rows = this.#sql.exec<{ request_id: string; record: string }>('SELECT * FROM outbox LIMIT ?', BATCH).toArray()
    if (rows.length === 0) return false
    const upsert = this.#db.prepare(UPSERT)
    await this.#db.batch(
      rows.map(({ record }) => {
        const usage: UsageRecord = JSON.parse(record)
        return upsert.bind(...USAGE_COLUMNS.map((column) => usage[column]))
      }),
    )
    // Another record may have taken the place of this one meanwhile.
    for (const { request_id: id, record } of rows) {
      this.#sql.exec('DELETE FROM outbox WHERE request_id = ? AND record = ?', id, record)
    }
    return this.#sql.exec('SELECT 1 FROM outbox LIMIT 1').toArray().length > 0
  }
}
