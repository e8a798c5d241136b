// From a parsed request to its answer: resolve, reserve, forward, count, settle. Both completion routes end here.
// Knows no route's JSON. Invariant: what was asked of an adapter is never answered by the bare base model, and every
// request that reached a model is settled once, whichever way it ended.
import type { Context } from 'hono'
import * as z from 'zod/mini'
import type { GenerateEvent, GenerateRequest } from '../../gpu-backend/protocol.ts'
import type { EdgeEnv } from '../edge-env.ts'
import { ApiError } from '../errors.ts'
import { idempotencyKey } from '../metering/idempotency-key.ts'
import type { StoredAnswer } from '../metering/reservation.ts'
import type { Ticket } from '../metering/ticket.ts'
import { tokensOfGeneration } from '../metering/tokens-wanted.ts'
import type { Outcome } from '../metering/usage-record.ts'
import { type AnswerFrame, ChunkedAnswer, WholeAnswer } from '../openai/answer.ts'
import type { Dialect } from '../openai/dialect.ts'
import { eventStream } from '../openai/event-stream.ts'
import { resolveModel } from '../registry/resolve-model.ts'
import { refusalOf } from '../router/backend-refusal.ts'
import { forwardGenerate, type Generation } from '../router/forward.ts'
import { BrokenStream } from '../router/generate-events.ts'
import { backendContext } from './backend-context.ts'
import { openTicket, reserve } from './request-account.ts'
import { warm } from './warm-early.ts'

/**
 * Cloudflare ends what goes on 30 s after a client has left, without a word to it: a generation that takes longer is broken off
 * before, while its account can still be closed with what was used.
 */
const FINISH_MS = 25_000

interface GenerateCall {
  readonly dialect: Dialect
  readonly model: string
  readonly stream: boolean
  readonly includeUsage: boolean
  /** The end user, as the caller names it: a canary treats each alike. */
  readonly user: string | undefined
  readonly request: Omit<GenerateRequest, 'delta'>
}

/** What the caller has caused after the model has begun: by the format, where a backend does not say, or by the adapter. */
const OwnFault = z.object({
  event: z.literal('error'),
  error: z.enum(['bad_request', 'invalid_delta']),
  message: z.string(),
  param: z._default(z.string(), 'response_format'),
})

/** @throws ApiError for every refusal before the first token */
export async function answerGeneration(c: Context<EdgeEnv>, call: GenerateCall): Promise<Response> {
  const model = await resolveModel(c, call.model, call.user ?? c.var.requestId)
  const ticket = openTicket(c, model, await idempotencyKey(c.req.header('idempotency-key'), identity(c, call)))
  const stored = await reserve(c, ticket, tokensOfGeneration(call.request, await contextTokens(c, call)))
  if (stored) return replay(c, call, stored)

  const left = new AbortController()
  const onLeave = leaving(ticket, left)
  whenLeft(c, onLeave)
  const context = backendContext(c, model.base, left.signal, call.request.messages ? 'messages' : 'prompt')
  const request = { ...call.request, delta: model.digest }
  const forwarded = warm(c, model).then((warming) => forwardGenerate(context, request, warming))
  const generation = await begun(c, ticket, forwarded)
  const events = meteredEvents(c, generation, { call, ticket, left: left.signal })
  const frame = {
    dialect: call.dialect,
    id: answerId(call.dialect, c.var.requestId),
    model: call.model,
    createdMs: Date.now(),
    digest: model.digest,
    base: generation.started.base,
    cold: generation.cold,
    terms: c.var.principal.terms,
  }
  return respond(c, call, { frame, events, url: generation.backend }, () => {
    onLeave()
    // Nobody reads on, but what is kept must be, and what is not must be ended for its account to be closed.
    c.executionCtx.waitUntil(ticket.isKept ? drain(events) : events.return(undefined))
  })
}

/** What a client's leaving does. An answer that is kept for its Idempotency-Key is worth finishing without a reader. */
function leaving({ isKept }: Ticket, left: AbortController): () => void {
  if (!isKept) return () => left.abort()
  return () => void setTimeout(() => left.abort(), FINISH_MS)
}

function whenLeft({ req }: Context<EdgeEnv>, onLeave: () => void): void {
  const { signal } = req.raw
  if (signal.aborted) onLeave()
  else signal.addEventListener('abort', onLeave, { once: true })
}

/** What bounds an answer whose length the request leaves open; undefined where no balance has to cover it. */
async function contextTokens(c: Context<EdgeEnv>, { request }: GenerateCall): Promise<number | undefined> {
  if (request.sampling.max_tokens !== undefined || c.var.principal.terms.billing === 'postpaid') return undefined
  return (await c.var.edge.backends.info(Date.now())).context_tokens
}

/** What was forwarded, once a backend has begun; where none does, its account is closed. */
async function begun(c: Context<EdgeEnv>, ticket: Ticket, forwarded: Promise<Generation>): Promise<Generation> {
  try {
    const generation = await forwarded
    ticket.begin(generation, Date.now())
    return generation
  } catch (error) {
    c.executionCtx.waitUntil(ticket.close('failed', Date.now()))
    throw error
  }
}

/** The events as they pass, counted. The account is closed before the last of them goes out, or when they break off. */
async function* meteredEvents(
  c: Context<EdgeEnv>,
  generation: Generation,
  { call, ticket, left }: { call: GenerateCall; ticket: Ticket; left: AbortSignal },
): AsyncGenerator<GenerateEvent> {
  let outcome: Outcome = 'cut'
  let isRead = false
  try {
    yield generation.started
    for await (const event of generation.events) {
      ticket.count(event, Date.now())
      isRead ||= call.stream && isSent(event)
      // Who breaks their own answer off pays for what was read of it.
      if (event.event === 'error') outcome = isRead && OwnFault.safeParse(event).success ? 'cut' : 'failed'
      if (event.event === 'done') {
        outcome = 'complete'
        await ticket.close(outcome, Date.now())
      }
      yield event
    }
  } catch (error) {
    // As where it breaks off because nobody has read on.
    const isReaders = isRead && error instanceof BrokenStream && error.byReader
    if (!left.aborted && !isReaders) outcome = 'failed'
    throw error
  } finally {
    generation.release()
    c.executionCtx.waitUntil(ticket.close(outcome, Date.now()))
  }
}

/** Whether a client is sent something of the answer's for it. */
function isSent(event: GenerateEvent): boolean {
  return event.event === 'tool_call' || (event.event === 'text' && (event.text !== '' || event.logprobs !== undefined))
}

/** The answer that this Idempotency-Key brought before; nothing is generated and nothing is charged. */
function replay(c: Context<EdgeEnv>, call: GenerateCall, { requestId, createdMs, kept }: StoredAnswer) {
  const events = 'vectors' in kept ? [] : kept
  const started = events[0]
  if (started?.event !== 'started') throw new Error('a stored answer has no beginning')
  const { dialect, model } = call
  const id = answerId(dialect, requestId)
  c.header('x-polylora-replayed', 'true')
  const { delta: digest, base } = started
  const frame = { dialect, id, model, createdMs, digest, base, cold: false, terms: null }
  return respond(c, call, { frame, events: storedEvents(events), url: undefined }, () => undefined)
}

async function* storedEvents(events: readonly GenerateEvent[]): AsyncGenerator<GenerateEvent> {
  yield* events
}

interface Answering {
  readonly frame: AnswerFrame
  readonly events: AsyncGenerator<GenerateEvent>
  /** Of the backend that answers; undefined where an answer is given again. */
  readonly url: string | undefined
}

async function respond(
  c: Context<EdgeEnv>,
  call: GenerateCall,
  { frame, events, url }: Answering,
  onLeave: () => void,
): Promise<Response> {
  const failure = (cause: unknown) => generationFailed(cause, c.var.requestId, url)
  c.header('x-polylora-adapter', frame.digest ?? 'base')
  if (!call.stream) {
    const whole = wholeBody(frame, events, failure)
    // Goes on where the client has left: its account must be closed, and what is kept finished.
    c.executionCtx.waitUntil(whole.catch(() => undefined))
    return c.json(await whole)
  }
  const answer = new ChunkedAnswer(frame, call.includeUsage)
  const body = eventStream({ answer, events, failure, onLeave })
  // A stream that has not been handed out by then hears of nobody's leaving.
  whenLeft(c, onLeave)
  return c.body(body, 200, { 'content-type': 'text/event-stream; charset=utf-8' })
}

async function wholeBody(
  frame: AnswerFrame,
  events: AsyncGenerator<GenerateEvent>,
  failure: (cause: unknown) => ApiError,
): Promise<object> {
  const answer = new WholeAnswer(frame)
  try {
    for await (const event of events) {
      if (event.event === 'error') throw failure(event)
      answer.add(event)
    }
  } catch (error) {
    throw error instanceof BrokenStream ? failure(error) : error
  }
  return answer.body()
}

async function drain(events: AsyncGenerator<GenerateEvent>): Promise<void> {
  try {
    while (!(await events.next()).done) {}
  } catch {
    // Its account is closed as failed; there is nobody to tell.
  }
}

function generationFailed(cause: unknown, requestId: string, url = ''): ApiError {
  // A schema that turns out to be too ambiguous only where the text has come to: asking again would not help.
  const { data: fault } = OwnFault.safeParse(cause)
  const own = fault && refusalOf(fault, { requestId, url, promptField: fault.param })
  if (own instanceof ApiError) return own
  const reason = cause instanceof Error ? String(cause) : cause
  console.warn(JSON.stringify({ event: 'generation_failed', request_id: requestId, url, reason }))
  return new ApiError(502, 'generation_failed', 'The model server stopped before the answer was complete: try again.')
}

function answerId(dialect: Dialect, requestId: string): string {
  return `${dialect.idPrefix}${requestId.slice('req_'.length)}`
}

/** What makes two requests the same to an Idempotency-Key: not whether the answer is streamed. */
function identity(c: Context<EdgeEnv>, { model, request }: GenerateCall): unknown {
  return [c.req.path, model, request]
}
