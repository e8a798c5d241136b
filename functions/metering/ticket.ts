// One request's account: opened before anything is asked of a backend, closed exactly once, whatever happens.
// Invariant: the first `close` takes effect; while the answer runs the meter hears of it, so that nothing is lost with us.
import type { GenerateEvent } from '../../gpu-backend/protocol.ts'
import type { Embedding, Generation } from '../router/forward.ts'
import { KeptEvents, storable } from './kept-events.ts'
import { askMeter, type Meter } from './meter-of.ts'
import type { Account, IdempotencyKey, KeptAnswer, KeptEmbedding, ReserveAnswer, TooLarge } from './reservation.ts'
import { priceNano, type Terms } from './terms.ts'
import type { TokensWanted } from './tokens-wanted.ts'
import type { Outcome, UsageRecord } from './usage-record.ts'

type Known = Pick<UsageRecord, 'request_id' | 'tenant' | 'key_id' | 'route' | 'adapter' | 'digest' | 'started_ms'>

interface TicketOptions {
  /** A stub of the tenant's meter: a new one each time, since one that has failed stays broken. */
  readonly meter: () => Meter
  readonly known: Known
  /** When the tenant was created; milliseconds since the epoch. */
  readonly sinceMs: number
  readonly terms: Terms
  readonly idempotency: IdempotencyKey | undefined
  /** Keeps a promise alive after the answer has gone out. */
  readonly waitUntil: (promise: Promise<unknown>) => void
}

/** How often the meter hears of a running answer. */
const HEAR_EVERY_MS = 5_000
/** A settlement that fails is tried again after each of these pauses, while the end of the answer waits. */
const SETTLE_PAUSES_MS = [250, 500, 750]
/** And then behind the answer, as long as Cloudflare lets anything go on there: 30 s. */
const LATER_PAUSES_MS = [1_000, 2_000, 4_000, 8_000, 10_000]

export class Ticket {
  readonly #options: TicketOptions
  #open = true
  #backend = ''
  #cold = 0
  #started: Generation['started'] | undefined
  #firstTextMs: number | undefined
  #heardMs = 0
  #usage = { prompt_tokens: 0, cached_tokens: 0, completion_tokens: 0 }
  readonly #events = new KeptEvents()
  #embedding: KeptEmbedding | undefined

  constructor(options: TicketOptions) {
    this.#options = options
  }

  /** The same Idempotency-Key brings this answer again, so it is worth finishing for a client that has left. */
  get isKept(): boolean {
    return this.#options.idempotency !== undefined
  }

  /** @throws ApiError 503 where the meter cannot be reached: then nothing may be generated */
  async reserve({ expected, most }: TokensWanted): Promise<ReserveAnswer> {
    const { meter, known, sinceMs, terms, idempotency, waitUntil } = this.#options
    const { request_id: requestId, started_ms: nowMs } = known
    const { prompt: promptTokens, completion: completionTokens } = expected
    const mostNano = priceNano(terms, {
      prompt_tokens: most.prompt,
      cached_tokens: 0,
      completion_tokens: most.completion,
    })
    const reservation = { requestId, nowMs, sinceMs, promptTokens, completionTokens, mostNano, terms, idempotency }
    // It knows the request if it is asked twice.
    const ask = async (asked: Meter): Promise<ReserveAnswer> => await asked.reserve(reservation)
    // Else what it may have granted would hold the balance, and the Idempotency-Key, until it is given up for lost.
    const giveUp = () => waitUntil(this.close('failed', Date.now()))
    return askMeter(meter, ask, { request_id: requestId }, giveUp)
  }

  /** The backend took the request: from here on it costs. */
  begin({ backend, cold, started }: Generation, nowMs: number): void {
    this.#backend = backend
    this.#cold = cold ? 1 : 0
    this.#started = started
    this.#usage.prompt_tokens = started.prompt_tokens
    this.#usage.cached_tokens = started.cached_tokens ?? 0
    if (this.isKept) this.#events.add(started)
    this.#hear(nowMs)
  }

  /** As `begin` and `count` for an answer that comes in one piece and has no tokens of its own. */
  embedded({ backend, cold, promptTokens: prompt_tokens }: Embedding, base: string, kept: KeptEmbedding): void {
    this.#backend = backend
    this.#cold = cold ? 1 : 0
    this.#started = { event: 'started', base, delta: null, tier: null, prompt_tokens }
    this.#usage.prompt_tokens = prompt_tokens
    this.#embedding = kept
  }

  count(event: GenerateEvent, nowMs: number): void {
    if (this.isKept) this.#events.add(event)
    if (event.event === 'text') {
      this.#firstTextMs ??= nowMs
      this.#usage.completion_tokens += event.tokens
    } else if (event.event === 'done') {
      this.#usage = { ...event.usage }
    }
    if (nowMs - this.#heardMs > HEAR_EVERY_MS) this.#hear(nowMs)
  }

  /** Closes the account: with a record where a backend had begun, without one where none had. Never rejects. */
  async close(outcome: Outcome, nowMs: number): Promise<void> {
    if (!this.#open) return
    this.#open = false
    const { meter, known, waitUntil } = this.#options
    const trySettle = async (): Promise<boolean> => {
      try {
        if (this.#started) await meter().settle(this.#account(outcome, nowMs), nowMs, this.#storable(outcome))
        else await meter().release(known.request_id, nowMs)
        return true
      } catch (error) {
        // The meter closes it by itself, with what it last heard, should all of them fail.
        console.error(JSON.stringify({ event: 'settle_failed', ...known, outcome, reason: String(error) }))
        return false
      }
    }
    if ((await trySettle()) || (await tryAgain(trySettle, SETTLE_PAUSES_MS))) return
    waitUntil(tryAgain(trySettle, LATER_PAUSES_MS))
  }

  #hear(nowMs: number): void {
    this.#heardMs = nowMs
    const { meter, waitUntil } = this.#options
    const heard = meter().hear(this.#account('lost', nowMs), nowMs)
    waitUntil(heard.catch(() => undefined))
  }

  #storable(outcome: Outcome): KeptAnswer | TooLarge | undefined {
    if (!this.isKept || outcome !== 'complete') return undefined
    return this.#embedding ? storable(this.#embedding) : this.#events.answer()
  }

  #account(outcome: Outcome, nowMs: number): Account {
    const { sinceMs, terms, idempotency } = this.#options
    return { record: this.#record(outcome, nowMs), sinceMs, terms, idempotency }
  }

  #record(outcome: Outcome, nowMs: number): UsageRecord {
    const { known } = this.#options
    return {
      ...known,
      ...this.#usage,
      base: this.#started?.base ?? '',
      tier: this.#started?.tier ?? null,
      cold: this.#cold,
      backend: this.#backend,
      outcome,
      ttft_ms: this.#firstTextMs === undefined ? null : this.#firstTextMs - known.started_ms,
      latency_ms: nowMs - known.started_ms,
      price_nano: 0,
    }
  }
}

/** Whether `work` has succeeded after one of the pauses. */
async function tryAgain(work: () => Promise<boolean>, pausesMs: readonly number[]): Promise<boolean> {
  for (const pauseMs of pausesMs) {
    await new Promise((resolve) => setTimeout(resolve, pauseMs))
    if (await work()) return true
  }
  return false
}
