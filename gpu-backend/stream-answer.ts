// One generation on its way to its client: the engine's events as they come, and what /metrics says of them.
// Knows no route. Invariant: an answer that has begun ends with `done` or `error`, or the client left.
import type { Engine, EngineEvent, RequestContext } from './engine/engine.ts'
import { type Exchange, send, sendPulse, toBackendError } from './exchange.ts'
import type { Metrics } from './metrics.ts'
import { type GenerateEvent, type GenerateRequest, REQUEST_ID_HEADER } from './protocol.ts'

export interface Generation {
  readonly engine: Engine
  readonly metrics: Metrics
  readonly request: GenerateRequest
  /** Milliseconds of `performance.now`. */
  readonly arrivedMs: number
}

/** Answers the exchange. @throws BackendError as the engine does before its first event */
export async function streamAnswer(exchange: Exchange, generation: Generation, context: RequestContext): Promise<void> {
  const { response, requestId } = exchange
  const { engine, request } = generation
  const meter = new AnswerMeter(generation)
  // A sequence may wait for room in the KV cache, or a prompt be long. An engine that hangs does not say that it is ready.
  const pulse = () =>
    void engine.ready().then(
      () => sendPulse(exchange),
      () => {},
    )
  const quiet = setInterval(pulse, exchange.maxQuietMs)
  try {
    for await (const event of engine.generate(request, context)) {
      quiet.refresh()
      meter.count(event)
      if (event.event === 'started') {
        response.writeHead(200, { 'content-type': 'application/x-ndjson', [REQUEST_ID_HEADER]: requestId })
      }
      await send(exchange, onTheWire(event, generation, meter))
    }
  } catch (error) {
    if (!response.headersSent) throw error
    const { code, message, param } = toBackendError(error, exchange)
    generation.metrics.failed(code)
    await send(exchange, { event: 'error', error: code, message, param })
  } finally {
    clearInterval(quiet)
  }
  response.end()
}

function onTheWire(event: EngineEvent, { engine, request }: Generation, meter: AnswerMeter): GenerateEvent {
  switch (event.event) {
    case 'started': {
      const { tier, promptTokens: prompt_tokens, cachedTokens: cached_tokens } = event
      const { fingerprint: base } = engine.info.base
      return { event: 'started', base, delta: request.delta, tier, prompt_tokens, cached_tokens }
    }
    case 'text': {
      const { logprobs, ...text } = event
      return { ...text, ...(logprobs ? { logprobs: [...logprobs] } : {}) }
    }
    case 'done':
      return { ...event, ...meter.times() }
    default:
      return event
  }
}

/** What an answer's events say of waiting, of tokens and of the times between them. */
class AnswerMeter {
  readonly #metrics: Metrics
  readonly #delta: string | null
  readonly #arrivedMs: number
  #startedMs: number
  #firstMs = 0
  /** Of the latest text. */
  #lastMs = 0
  #outputTokens = 0

  constructor({ metrics, request, arrivedMs }: Generation) {
    this.#metrics = metrics
    this.#delta = request.delta
    this.#arrivedMs = arrivedMs
    this.#startedMs = arrivedMs
  }

  count(event: EngineEvent): void {
    const nowMs = performance.now()
    if (event.event === 'started') {
      const { promptTokens, tier, loadMs } = event
      this.#startedMs = nowMs
      this.#metrics.tokens(this.#delta, { prompt: promptTokens })
      this.#metrics.started(this.#delta, { queueMs: nowMs - this.#arrivedMs, tier, loadMs })
    } else if (event.event === 'text') {
      if (this.#lastMs > 0) this.#metrics.nextToken(this.#delta, (nowMs - this.#lastMs) / Math.max(1, event.tokens))
      else this.#metrics.firstToken(this.#delta, nowMs - this.#arrivedMs)
      this.#firstMs ||= nowMs
      this.#lastMs = nowMs
      // At once: the client may leave before the end.
      this.#outputTokens += event.tokens
      this.#metrics.tokens(this.#delta, { output: event.tokens })
    } else if (event.event === 'done') {
      const { cached_tokens, completion_tokens } = event.usage
      this.#metrics.tokens(this.#delta, { cached: cached_tokens, output: completion_tokens - this.#outputTokens })
    }
  }

  /** Milliseconds since the request arrived. */
  times(): { queue_ms: number; ttft_ms: number; total_ms: number } {
    const nowMs = performance.now()
    return {
      queue_ms: this.#startedMs - this.#arrivedMs,
      ttft_ms: (this.#firstMs || nowMs) - this.#arrivedMs,
      total_ms: nowMs - this.#arrivedMs,
    }
  }
}
