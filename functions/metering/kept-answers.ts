// Answers that are kept for their Idempotency-Key, in the meter's storage.
// Invariants: a key belongs to one request at a time, and only the request that it belongs to is charged for it; a tenant's
// answers take bounded room, of which the latest have the first claim.
import type { IdempotencyKey, KeptAnswer, KeyTaken, TooLarge } from './reservation.ts'

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, request_id TEXT NOT NULL, created_ms INTEGER NOT NULL, events TEXT);
  CREATE INDEX IF NOT EXISTS answers_by_request ON answers (request_id);
  CREATE INDEX IF NOT EXISTS answers_by_time ON answers (created_ms);
`

/** Of all answers of a tenant, so that none can fill its meter, which is full at 10 GB. */
const MAX_KEPT_BYTES = 64e6
/** In place of the events of an answer that was charged and is not here. */
const NOT_KEPT = JSON.stringify('too_large' satisfies TooLarge)

/** `events` is null while the request runs. */
type AnswerRow = { fingerprint: string; request_id: string; created_ms: number; events: string | null }

export class KeptAnswers {
  readonly #sql: SqlStorage
  /** What is kept, or more, where some of it has been forgotten since it was last added up; undefined before that. */
  #bytes: number | undefined

  constructor(sql: SqlStorage) {
    this.#sql = sql
    sql.exec(SCHEMA)
  }

  /**
   * What becomes of another request under this key; undefined where the key is free, as it is again of an answer from before
   * `sinceMs`. `runs` knows which requests do.
   */
  find(
    { key, fingerprint }: IdempotencyKey,
    sinceMs: number,
    runs: (requestId: string) => boolean,
  ): KeyTaken | undefined {
    const row = this.#sql.exec<AnswerRow>('SELECT * FROM answers WHERE key = ?', key).toArray()[0]
    if (!row) return undefined
    if (row.created_ms < sinceMs && !runs(row.request_id)) {
      this.free(row.request_id)
      return undefined
    }
    if (row.fingerprint !== fingerprint) return { kind: 'other_request' }
    if (row.events === null) {
      if (runs(row.request_id)) return { kind: 'in_progress' }
      // Nobody is at it any more.
      this.free(row.request_id)
      return undefined
    }
    const { request_id: requestId, created_ms: createdMs } = row
    const kept: KeptAnswer | TooLarge = JSON.parse(row.events)
    return kept === 'too_large' ? { kind: kept } : { kind: 'replay', answer: { requestId, createdMs, kept } }
  }

  /** Gives the key to this request where it is free; false where it is another's. */
  claim({ key, fingerprint }: IdempotencyKey, requestId: string, nowMs: number): boolean {
    const owner = this.#sql
      .exec<{ request_id: string }>(
        `INSERT INTO answers (key, fingerprint, request_id, created_ms) VALUES (?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET key = key RETURNING request_id`,
        ...[key, fingerprint, requestId, nowMs],
      )
      .one()
    return owner.request_id === requestId
  }

  /** The answer of the request that has the key. */
  keep({ key }: IdempotencyKey, answer: KeptAnswer | TooLarge): void {
    const events = JSON.stringify(answer)
    this.#sql.exec('UPDATE answers SET events = ? WHERE key = ?', events, key)
    this.#bytes =
      this.#bytes === undefined ? this.#keptBytes() : this.#bytes + new TextEncoder().encode(events).byteLength
    if (this.#bytes > MAX_KEPT_BYTES) this.#dropOldest()
  }

  /** The request's key, if it has one, is free for another. */
  free(requestId: string): void {
    this.#sql.exec('DELETE FROM answers WHERE request_id = ?', requestId)
  }

  /** When the oldest of them was made; undefined where there are none. */
  oldestMs(): number | undefined {
    const [oldest] = this.#sql.exec<{ ms: number | null }>('SELECT MIN(created_ms) AS ms FROM answers')
    return oldest?.ms ?? undefined
  }

  forget(beforeMs: number): void {
    this.#sql.exec('DELETE FROM answers WHERE created_ms < ?', beforeMs)
  }

  /** Half of the room, so that it need not be made for each answer. Their keys stay: none of them is charged again. */
  #dropOldest(): void {
    let bytesLeft = this.#keptBytes()
    const oldest = this.#sql
      .exec<{ key: string; bytes: number }>(
        'SELECT key, octet_length(events) AS bytes FROM answers WHERE events <> ? ORDER BY created_ms',
        NOT_KEPT,
      )
      .toArray()
    for (const { key, bytes } of oldest) {
      if (bytesLeft <= MAX_KEPT_BYTES / 2) break
      this.#sql.exec('UPDATE answers SET events = ? WHERE key = ?', NOT_KEPT, key)
      bytesLeft -= bytes
    }
    this.#bytes = bytesLeft
  }

  #keptBytes(): number {
    const sum = this.#sql.exec<{ bytes: number | null }>('SELECT SUM(octet_length(events)) AS bytes FROM answers')
    return sum.one().bytes ?? 0
  }
}
