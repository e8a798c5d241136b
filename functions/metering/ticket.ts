// One request's account: opened before anything is asked of a backend, closed exactly once, whatever happens.
// Invariant: `settle` and `release` take effect once; the second call of either does nothing.
import type { GenerateEvent } from '../../gpu-backend/protocol.ts'
import type { TenantMeter } from './tenant-meter.ts'
import type { Outcome, UsageRecord } from './usage-record.ts'

type Known = Pick<UsageRecord, 'request_id' | 'tenant' | 'key_id' | 'route' | 'adapter' | 'digest' | 'started_ms'>
type Started = Extract<GenerateEvent, { event: 'started' }>

/** The caller keeps the returned promises alive (`waitUntil`); they never reject. */
export class Ticket {
  readonly #meter: DurableObjectStub<TenantMeter>
  readonly #known: Known
  #open = true
  #backend = ''
  #started: Started | undefined
  #firstTextMs: number | undefined
  #promptTokens = 0
  #cachedTokens = 0
  #completionTokens = 0

  constructor(meter: DurableObjectStub<TenantMeter>, known: Known) {
    this.#meter = meter
    this.#known = known
  }

  /** @throws where the meter refuses or cannot be reached: then nothing may be generated */
  async reserve(): Promise<void> {
    await this.#meter.reserve(this.#known.request_id, this.#known.started_ms)
  }

  /** The backend took the request: from here on it costs. */
  begin(backend: string, started: Started): void {
    this.#backend = backend
    this.#started = started
    this.#promptTokens = started.prompt_tokens
  }

  count(event: GenerateEvent, nowMs: number): void {
    if (event.event === 'text') {
      this.#firstTextMs ??= nowMs
      this.#completionTokens += event.tokens
    }
    if (event.event !== 'done') return
    this.#promptTokens = event.usage.prompt_tokens
    this.#cachedTokens = event.usage.cached_tokens
    this.#completionTokens = event.usage.completion_tokens
  }

  /** Closes the account: with a record where a backend had begun, without one where none had. */
  async close(outcome: Outcome, nowMs: number): Promise<void> {
    if (!this.#open) return
    this.#open = false
    try {
      if (this.#started) await this.#meter.settle(this.#record(outcome, this.#started, nowMs), nowMs)
      else await this.#meter.release(this.#known.request_id)
    } catch (error) {
      console.error(JSON.stringify({ event: 'settle_failed', ...this.#known, outcome, reason: String(error) }))
    }
  }

  #record(outcome: Outcome, started: Started, nowMs: number): UsageRecord {
    const { started_ms: startedMs } = this.#known
    return {
      ...this.#known,
      base: started.base,
      prompt_tokens: this.#promptTokens,
      cached_tokens: this.#cachedTokens,
      completion_tokens: this.#completionTokens,
      tier: started.tier,
      backend: this.#backend,
      outcome,
      ttft_ms: this.#firstTextMs === undefined ? null : this.#firstTextMs - startedMs,
      latency_ms: nowMs - startedMs,
    }
  }
}
