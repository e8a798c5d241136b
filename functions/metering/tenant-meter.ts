// The meter of one tenant: a Durable Object that grants requests under the tenant's terms and settles what they used.
// Knows no names, keys or bytes. Invariants: a request is settled once; one that nobody settles is closed here, with what was
// last heard of it, until what its edge has to say comes after all; a tenant neither pays for nor sees what one of the same
// name had begun that was deleted.
// Granting writes nothing, since a Durable Object's answer waits for its writes: reservations live in memory until the
// backend has begun. A meter that restarts before forgets them, and gives at most a minute's allowance too much.
import { DurableObject } from 'cloudflare:workers'
import { KeptAnswers } from './kept-answers.ts'
import { Limits } from './limits.ts'
import { Outbox } from './outbox.ts'
import type { Account, KeptAnswer, Reservation, ReserveAnswer, TooLarge } from './reservation.ts'
import { priceNano, type Terms } from './terms.ts'

const FLUSH_AFTER_MS = 500
const RETRY_FLUSH_MS = 2_000
/** So many batches of records go to D1 in one alarm: more in a second than a Durable Object can settle. */
const BATCHES_AT_ONCE = 20
/** A request of which nothing was heard for so long has lost its edge. */
const LEASE_MS = 180_000
/** Before it runs nothing is heard of it: three backends are tried, one after another, and each may be silent for long. */
const LEASES_TO_BEGIN = 3
/** How long settled requests and stored answers are remembered. */
const REMEMBER_MS = 24 * 3_600_000
const FORGET_EVERY_MS = 600_000
/** Prefix of the keys under which requests that run are kept. */
const RUNNING = 'running:'
/** Key of the time of the last erasure. */
const ERASED = 'erased_ms'
/** Nobody's answer waits for such a write: it may be lost, with no more harm than a few seconds' tokens. */
const UNCONFIRMED = { allowUnconfirmed: true }
/** `lost`: requests that were given up, and what was charged for them. */
const SCHEMA = `
  CREATE TABLE IF NOT EXISTS credits (id TEXT PRIMARY KEY, amount_nano INTEGER NOT NULL, created_ms INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS balance (one INTEGER PRIMARY KEY CHECK (one = 1), nano INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS settled (request_id TEXT PRIMARY KEY, settled_ms INTEGER NOT NULL);
  CREATE INDEX IF NOT EXISTS settled_by_time ON settled (settled_ms);
  CREATE TABLE IF NOT EXISTS lost (
    request_id TEXT PRIMARY KEY, price_nano INTEGER NOT NULL, settled_ms INTEGER NOT NULL);
`

/** Of the Worker's bindings. */
interface MeterBindings {
  readonly DB: D1Database
  readonly METER_LEASE_MS?: string
}

interface OpenRequest {
  /** When anything was last heard of it; milliseconds since the epoch. */
  readonly heardMs: number
  /** Taken from the bucket of tokens. */
  readonly tokens: number
  readonly hold: number
  readonly terms: Terms
  /** Absent until a backend has begun. */
  readonly account: Account | undefined
}

export class TenantMeter extends DurableObject<MeterBindings> {
  readonly #sql: SqlStorage
  readonly #leaseMs: number
  readonly #open = new Map<string, OpenRequest>()
  #limits: Limits
  #answers: KeptAnswers
  #outbox: Outbox
  #forgotMs = 0
  /** A tenant that was created before was another one of this name, which has been deleted. */
  #erasedMs = 0

  constructor(ctx: DurableObjectState, env: MeterBindings) {
    super(ctx, env)
    this.#sql = ctx.storage.sql
    this.#leaseMs = Number(env.METER_LEASE_MS || LEASE_MS)
    this.#sql.exec(SCHEMA)
    this.#limits = new Limits(this.#sql)
    this.#answers = new KeptAnswers(this.#sql)
    this.#outbox = new Outbox(this.#sql, env.DB)
    ctx.blockConcurrencyWhile(async () => {
      const running = await ctx.storage.list<OpenRequest>({ prefix: RUNNING })
      for (const [key, open] of running) this.#open.set(key.slice(RUNNING.length), open)
      this.#erasedMs = (await ctx.storage.get<number>(ERASED)) ?? 0
      // Whatever was left undone by the one before.
      await this.#wake(Date.now() + FLUSH_AFTER_MS)
    })
  }

  /** Opens a request where the tenant's limits and balance allow it; the same request again is the same reservation. */
  async reserve(reservation: Reservation): Promise<ReserveAnswer> {
    const { requestId, nowMs, terms, idempotency } = reservation
    // By a key that another isolate still remembers.
    if ((reservation.sinceMs ?? nowMs) <= this.#erasedMs) return { kind: 'erased' }
    this.#releaseUnheard(nowMs)
    if (this.#open.has(requestId)) return { kind: 'granted', rate: this.#limits.rate(terms, nowMs) }
    const known = idempotency && this.#answers.find(idempotency, nowMs - REMEMBER_MS, (id) => this.#open.has(id))
    if (known) return known
    const { promptTokens: prompt_tokens, completionTokens: completion_tokens } = reservation
    const hold = reservation.mostNano ?? priceNano(terms, { prompt_tokens, cached_tokens: 0, completion_tokens })
    if (terms.billing === 'prepaid' && this.#available() < Math.max(1, hold)) return { kind: 'unpaid' }
    // A request larger than a minute's allowance waits for a full bucket.
    const wanted = reservation.promptTokens + reservation.completionTokens
    const tokens = Math.min(wanted, terms.tokens_per_minute ?? wanted)
    const refusal = this.#limits.take(terms, tokens, nowMs)
    if (refusal) return refusal
    this.#open.set(requestId, { heardMs: nowMs, tokens, hold, terms, account: undefined })
    if (idempotency) this.#answers.claim(idempotency, requestId, nowMs)
    return { kind: 'granted', rate: this.#limits.rate(terms, nowMs) }
  }

  /** What the request has used so far, should its edge never come back. */
  async hear(account: Account, nowMs: number): Promise<void> {
    const id = account.record.request_id
    if (this.#isOfErased(account)) return
    if (this.#sql.exec('SELECT 1 FROM settled WHERE request_id = ?', id).toArray().length > 0) return
    // Absent where this meter has restarted since it granted the request.
    const open = this.#open.get(id) ?? { tokens: 0, hold: 0, terms: account.terms }
    const heard = { ...open, heardMs: nowMs, account }
    this.#open.set(id, heard)
    this.ctx.storage.put(`${RUNNING}${id}`, heard, UNCONFIRMED)
    await this.#wake(nowMs + this.#leaseMs)
  }

  /** Closes a request that cost nothing; its Idempotency-Key may be tried again. */
  async release(requestId: string, nowMs: number): Promise<void> {
    this.ctx.storage.transactionSync(() => this.#release(requestId, nowMs))
  }

  /**
   * Closes a request with what it used; a second settlement of the same request changes nothing, but one of a request that
   * was given up as lost takes the place of the first. `kept`, where given, is there to answer the same Idempotency-Key again.
   */
  async settle(account: Account, nowMs: number, kept?: KeptAnswer | TooLarge): Promise<void> {
    this.ctx.storage.transactionSync(() => this.#settle(account, nowMs, kept))
    await this.#wake(nowMs + FLUSH_AFTER_MS)
  }

  /**
   * Adds to the balance (nano units, may be negative); once for each `id`. Returns the balance; undefined where another amount
   * came under this `id` before.
   */
  async credit(id: string, amountNano: number, nowMs: number): Promise<number | undefined> {
    return this.ctx.storage.transactionSync(() => {
      const known = this.#sql
        .exec<{ amount_nano: number }>('SELECT amount_nano FROM credits WHERE id = ?', id)
        .toArray()[0]
      if (known) return known.amount_nano === amountNano ? this.#balance() : undefined
      this.#sql.exec('INSERT INTO credits VALUES (?, ?, ?)', id, amountNano, nowMs)
      this.#pay(-amountNano)
      return this.#balance()
    })
  }

  /** Nano units: what was paid in less what was used; and what open requests may still use of it. */
  async balance(): Promise<{ balance_nano: number; held_nano: number }> {
    return { balance_nano: this.#balance(), held_nano: this.#balance() - this.#available() }
  }

  /** Forgets everything but the records that D1 lacks, which are written first. */
  async erase(): Promise<void> {
    while (await this.#outbox.flush()) {}
    await this.ctx.storage.deleteAlarm()
    await this.ctx.storage.deleteAll()
    this.#erasedMs = Date.now()
    await this.ctx.storage.put(ERASED, this.#erasedMs)
    this.#sql.exec(SCHEMA)
    this.#limits = new Limits(this.#sql)
    this.#answers = new KeptAnswers(this.#sql)
    this.#outbox = new Outbox(this.#sql, this.env.DB)
    this.#open.clear()
  }

  /** Moves the outbox to D1, closes what lost its edge, forgets what is old. */
  override async alarm(): Promise<void> {
    const nowMs = Date.now()
    this.#closeLost(nowMs)
    this.#forgetOld(nowMs)
    try {
      let [isMore, batches] = [true, 0]
      while (isMore && batches++ < BATCHES_AT_ONCE) isMore = await this.#outbox.flush()
      if (isMore) await this.#wake(nowMs + FLUSH_AFTER_MS)
    } catch (error) {
      console.error(JSON.stringify({ event: 'usage_flush_failed', reason: String(error) }))
      await this.#wake(nowMs + RETRY_FLUSH_MS)
    }
    const lost = [...this.#open.values()].map((open) => this.#lostMs(open))
    if (lost.length > 0) await this.#wake(Math.min(...lost))
    const oldestMs = this.#answers.oldestMs()
    if (oldestMs !== undefined) await this.#wake(Math.max(oldestMs + REMEMBER_MS, nowMs + FORGET_EVERY_MS))
  }

  #settle(account: Account, nowMs: number, kept?: KeptAnswer | TooLarge): void {
    const { record, terms, idempotency } = account
    const { request_id: id, outcome } = record
    if (this.#isOfErased(account)) {
      // For the books alone: there is no balance left that it could be taken from.
      this.#outbox.add({ ...record, price_nano: outcome === 'failed' ? 0 : priceNano(terms, record) })
      return
    }
    const lost = this.#sql
      .exec<{ price_nano: number }>('DELETE FROM lost WHERE request_id = ? RETURNING price_nano', id)
      .toArray()[0]
    const { rowsWritten } = this.#sql.exec('INSERT OR IGNORE INTO settled VALUES (?, ?)', id, nowMs)
    if (rowsWritten === 0 && !lost) return
    const agreed = this.#close(id, record.prompt_tokens + record.completion_tokens, nowMs) ?? terms
    // Under an Idempotency-Key an answer that was lost is asked for again; and a whole one is paid for only once.
    const owned = outcome === 'complete' && idempotency && this.#answers.claim(idempotency, id, nowMs)
    const charged = outcome === 'cut' || (idempotency ? owned : outcome !== 'failed')
    const price = charged ? priceNano(agreed, record) : 0
    if (owned && kept) this.#answers.keep(idempotency, kept)
    else this.#answers.free(id)
    this.#pay(price - (lost?.price_nano ?? 0))
    this.#outbox.add({ ...record, price_nano: price })
    if (outcome === 'lost') this.#sql.exec('INSERT OR REPLACE INTO lost VALUES (?, ?, ?)', id, price, nowMs)
  }

  #isOfErased({ record, sinceMs }: Account): boolean {
    return (sinceMs ?? record.started_ms) <= this.#erasedMs
  }

  #release(requestId: string, nowMs: number): void {
    this.#close(requestId, 0, nowMs)
    this.#answers.free(requestId)
  }

  /** Ends the reservation: what it did not use goes back to the bucket. Undefined where it is closed already. */
  #close(requestId: string, used: number, nowMs: number): Terms | undefined {
    const open = this.#open.get(requestId)
    if (!open) return undefined
    this.#open.delete(requestId)
    if (open.account) this.ctx.storage.delete(`${RUNNING}${requestId}`, UNCONFIRMED)
    this.#limits.correct(open.terms, used - open.tokens, nowMs)
    this.#limits.save()
    return open.terms
  }

  #forgetOld(nowMs: number): void {
    if (nowMs - this.#forgotMs < FORGET_EVERY_MS) return
    this.#forgotMs = nowMs
    const beforeMs = nowMs - REMEMBER_MS
    for (const table of ['settled', 'lost']) this.#sql.exec(`DELETE FROM ${table} WHERE settled_ms < ?`, beforeMs)
    this.#answers.forget(beforeMs)
  }

  #closeLost(nowMs: number): void {
    for (const [requestId, open] of this.#open) {
      if (this.#lostMs(open) > nowMs) continue
      const { account, terms } = open
      this.ctx.storage.transactionSync(() => {
        if (account) this.#settle({ ...account, terms, record: { ...account.record, outcome: 'lost' } }, nowMs)
        else this.#release(requestId, nowMs)
      })
    }
  }

  /** When a request counts as lost, unless more is heard of it. */
  #lostMs({ heardMs, account }: OpenRequest): number {
    return heardMs + (account ? 1 : LEASES_TO_BEGIN) * this.#leaseMs
  }

  /** Reservations that never came to run set no alarm: the next one sweeps them up. */
  #releaseUnheard(nowMs: number): void {
    for (const [requestId, open] of this.#open) {
      // In the order of their beginning: behind the first young one are only younger ones, or ones that run.
      if (this.#lostMs(open) > nowMs) break
      if (!open.account) this.#release(requestId, nowMs)
    }
  }

  #balance(): number {
    return this.#sql.exec<{ nano: number }>('SELECT nano FROM balance').toArray()[0]?.nano ?? 0
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

  /** An alarm at `atMs` at the latest. */
  async #wake(atMs: number): Promise<void> {
    const set = await this.ctx.storage.getAlarm()
    if (set === null || set > atMs) this.ctx.storage.setAlarm(atMs, UNCONFIRMED)
  }
}
