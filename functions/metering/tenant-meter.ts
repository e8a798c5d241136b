// The meter of one tenant: a Durable Object that grants requests under the tenant's terms and settles what they used.
// Knows no names, keys or bytes. Invariants: a request is settled once; one that nobody settles is closed here, with what was
// last heard of it, until what its edge has to say comes after all; a tenant neither pays for nor sees what one of the same
// name had begun that was deleted.
// A grant waits for no write that is confirmed. Cloudflare removes a meter from memory that has been at rest for ten seconds,
// and a request may wait longer for its backend: what a limit, a balance or an Idempotency-Key depends on is written down all
// the same. A reservation on which nothing depends lives in memory until the backend has begun.
import { DurableObject } from 'cloudflare:workers'
import { type LeaseSettings, meterLeaseMs } from '../env.ts'
import { MAX_TRIES } from '../router/forward.ts'
import { Balance, type ClosedBalance } from './balance.ts'
import { KeptAnswers } from './kept-answers.ts'
import { Limits } from './limits.ts'
import { Outbox } from './outbox.ts'
import type { Account, CreditAnswer, KeptAnswer, Reservation, ReserveAnswer, TooLarge } from './reservation.ts'
import { priceNano, type Terms } from './terms.ts'
import { UNCONFIRMED } from './unconfirmed.ts'

const FLUSH_AFTER_MS = 500
const RETRY_FLUSH_MS = 2_000
/** So many batches of records go to D1 in one alarm: more in a second than a Durable Object can settle. */
const BATCHES_AT_ONCE = 20
/** How long settled requests and stored answers are remembered. */
const REMEMBER_MS = 24 * 3_600_000
const FORGET_EVERY_MS = 600_000
/** Prefix of the keys under which open requests are kept. */
const OPEN = 'running:'
/** Key of the time of the last erasure. */
const ERASED = 'erased_ms'
/** `lost`: requests that were given up, and what was charged for them. */
const SCHEMA = `
  CREATE TABLE IF NOT EXISTS settled (request_id TEXT PRIMARY KEY, settled_ms INTEGER NOT NULL);
  CREATE INDEX IF NOT EXISTS settled_by_time ON settled (settled_ms);
  CREATE TABLE IF NOT EXISTS lost (
    request_id TEXT PRIMARY KEY, price_nano INTEGER NOT NULL, settled_ms INTEGER NOT NULL);
`

/** Of the Worker's bindings. */
interface MeterBindings extends LeaseSettings {
  readonly DB: D1Database
}

interface OpenRequest {
  /** When anything was last heard of it; milliseconds since the epoch. */
  readonly heardMs: number
  /** Taken from the bucket of tokens. */
  readonly tokens: number
  readonly hold: number
  readonly terms: Terms
  /** Undefined until a backend has begun. */
  readonly account: Account | undefined
}

export class TenantMeter extends DurableObject<MeterBindings> {
  readonly #sql: SqlStorage
  readonly #leaseMs: number
  readonly #open = new Map<string, OpenRequest>()
  #balance: Balance
  #limits: Limits
  #answers: KeptAnswers
  #outbox: Outbox
  #forgotMs = 0
  /** A tenant that was created before was another one of this name, which has been deleted. */
  #erasedMs = 0

  constructor(ctx: DurableObjectState, env: MeterBindings) {
    super(ctx, env)
    this.#sql = ctx.storage.sql
    this.#leaseMs = meterLeaseMs(env)
    this.#sql.exec(SCHEMA)
    this.#balance = new Balance(this.#sql)
    this.#limits = new Limits(ctx.storage)
    this.#answers = new KeptAnswers(this.#sql)
    this.#outbox = new Outbox(this.#sql, env.DB)
    ctx.blockConcurrencyWhile(async () => {
      const kept = await ctx.storage.list<OpenRequest>({ prefix: OPEN })
      for (const [key, open] of kept) this.#open.set(key.slice(OPEN.length), open)
      await this.#limits.load()
      this.#erasedMs = (await ctx.storage.get<number>(ERASED)) ?? 0
      // Whatever was left undone by the one before.
      await this.#wake(Date.now() + FLUSH_AFTER_MS)
    })
  }

  /** Opens a request where the tenant's limits and balance allow it; the same request again is the same reservation. */
  async reserve(reservation: Reservation): Promise<ReserveAnswer> {
    const { requestId, nowMs, terms, idempotency } = reservation
    // By a key that another isolate still remembers.
    if (reservation.sinceMs <= this.#erasedMs) return { kind: 'erased' }
    this.#releaseUnheard(nowMs)
    if (this.#open.has(requestId)) return { kind: 'granted', rate: this.#limits.rate(terms, nowMs) }
    const known = idempotency && this.#answers.find(idempotency, nowMs - REMEMBER_MS, (id) => this.#open.has(id))
    if (known) return known
    const hold = reservation.mostNano
    if (terms.billing === 'prepaid' && this.#balance.nano() - this.#held() < Math.max(1, hold))
      return { kind: 'unpaid' }
    // A request larger than a minute's allowance waits for a full bucket.
    const wanted = reservation.promptTokens + reservation.completionTokens
    const tokens = Math.min(wanted, terms.tokens_per_minute ?? wanted)
    const refusal = this.#limits.take(terms, tokens, nowMs)
    if (refusal) return refusal
    const open = { heardMs: nowMs, tokens, hold, terms, account: undefined }
    this.#open.set(requestId, open)
    if (isBound(terms) || idempotency) this.ctx.storage.put(`${OPEN}${requestId}`, open, UNCONFIRMED)
    if (idempotency) this.#answers.claim(idempotency, requestId, nowMs)
    return { kind: 'granted', rate: this.#limits.rate(terms, nowMs) }
  }

  /** What the request has used so far, should its edge never come back. */
  async hear(account: Account, nowMs: number): Promise<void> {
    const id = account.record.request_id
    if (this.#isOfErased(account)) return
    if (this.#sql.exec('SELECT 1 FROM settled WHERE request_id = ?', id).toArray().length > 0) return
    // Undefined where this meter has restarted since it granted the request, and nothing depended on it.
    const open = this.#open.get(id) ?? { tokens: 0, hold: 0, terms: account.terms }
    const heard = { ...open, heardMs: nowMs, account }
    this.#open.set(id, heard)
    this.ctx.storage.put(`${OPEN}${id}`, heard, UNCONFIRMED)
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

  /** Adds to the balance (nano units, may be negative) of the tenant that was created at `sinceMs`; once for each `id`. */
  async credit(id: string, amountNano: number, sinceMs: number, nowMs: number): Promise<CreditAnswer> {
    if (sinceMs <= this.#erasedMs) return { kind: 'erased' }
    const isTaken = this.ctx.storage.transactionSync(() => this.#balance.credit(id, amountNano, nowMs))
    return isTaken ? { kind: 'credited', balanceNano: this.#balance.nano() } : { kind: 'other_amount' }
  }

  /** Nano units: what was paid in less what was used; and what open requests may still use of it. */
  async balance(): Promise<{ balance_nano: number; held_nano: number }> {
    return { balance_nano: this.#balance.nano(), held_nano: this.#held() }
  }

  /**
   * Forgets the tenant that was created at `sinceMs`: all but the records that D1 lacks, which are written first, and what it
   * has paid and not used, which is returned, as often as it is asked for.
   */
  async erase(sinceMs: number): Promise<ClosedBalance> {
    while (await this.#outbox.flush()) {}
    if (sinceMs <= this.#erasedMs) return this.#balance.closed()
    await this.ctx.storage.deleteAlarm()
    const closing = this.#balance.closing()
    // Nothing is awaited in between, so that all of this is written, or none.
    const gone = this.ctx.storage.deleteAll()
    this.#erasedMs = Date.now()
    this.ctx.storage.put(ERASED, this.#erasedMs)
    this.#sql.exec(SCHEMA)
    this.#balance = new Balance(this.#sql)
    this.#balance.keepClosed(closing)
    this.#limits = new Limits(this.ctx.storage)
    this.#answers = new KeptAnswers(this.#sql)
    this.#outbox = new Outbox(this.#sql, this.env.DB)
    this.#open.clear()
    await gone
    return closing
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
    // What was given up as lost has been drawn already.
    if (!lost) this.#close(id, terms, record.prompt_tokens + record.completion_tokens, nowMs)
    // Under an Idempotency-Key an answer that was lost is asked for again; and a whole one is paid for only once.
    const owned = outcome === 'complete' && idempotency && this.#answers.claim(idempotency, id, nowMs)
    const charged = outcome === 'cut' || (idempotency ? owned : outcome !== 'failed')
    const price = charged ? priceNano(terms, record) : 0
    if (owned && kept) this.#answers.keep(idempotency, kept)
    else this.#answers.free(id)
    this.#balance.charge(price - (lost?.price_nano ?? 0))
    this.#outbox.add({ ...record, price_nano: price })
    if (outcome === 'lost') this.#sql.exec('INSERT OR REPLACE INTO lost VALUES (?, ?, ?)', id, price, nowMs)
  }

  #isOfErased({ sinceMs }: Account): boolean {
    return sinceMs <= this.#erasedMs
  }

  #release(requestId: string, nowMs: number): void {
    const open = this.#open.get(requestId)
    if (open) this.#close(requestId, open.terms, 0, nowMs)
    this.#answers.free(requestId)
  }

  /** Ends the reservation, if there still is one: what it did not use goes back to the bucket, what it used beyond is drawn. */
  #close(requestId: string, terms: Terms, used: number, nowMs: number): void {
    const reserved = this.#open.get(requestId)?.tokens ?? 0
    this.#open.delete(requestId)
    this.ctx.storage.delete(`${OPEN}${requestId}`, UNCONFIRMED)
    this.#limits.correct(terms, used - reserved, nowMs)
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
      const { account } = open
      this.ctx.storage.transactionSync(() => {
        if (account) this.#settle({ ...account, record: { ...account.record, outcome: 'lost' } }, nowMs)
        else this.#release(requestId, nowMs)
      })
    }
  }

  /**
   * When a request counts as lost, unless more is heard of it. Before it runs nothing is: backends are tried one after another,
   * and each may be silent for long.
   */
  #lostMs({ heardMs, account }: OpenRequest): number {
    return heardMs + (account ? 1 : MAX_TRIES) * this.#leaseMs
  }

  /** Reservations that never came to run set no alarm: the next one sweeps them up. */
  #releaseUnheard(nowMs: number): void {
    for (const [requestId, open] of this.#open) {
      if (!open.account && this.#lostMs(open) <= nowMs) this.#release(requestId, nowMs)
    }
  }

  /** The most that open requests can cost. */
  #held(): number {
    return this.#open.values().reduce((sum, { hold }) => sum + hold, 0)
  }

  /** An alarm at `atMs` at the latest. */
  async #wake(atMs: number): Promise<void> {
    const set = await this.ctx.storage.getAlarm()
    if (set === null || set > atMs) this.ctx.storage.setAlarm(atMs, UNCONFIRMED)
  }
}

/** Whether the next request may be refused for what this one has taken. */
function isBound({ billing, requests_per_minute: requests, tokens_per_minute: tokens }: Terms): boolean {
  return billing === 'prepaid' || requests !== null || tokens !== null
}
