// From a parsed request to its answer: resolve, reserve, forward, count, settle. Both completion routes end here.
// Knows no route's JSON. Invariant: what was asked of an adapter is never answered by the bare base model, and every
// request that reached a model is settled once, whichever way it ended.
import type { Context } from 'hono'
import type { Digest, GenerateEvent, GenerateRequest } from '../../gpu-backend/protocol.ts'
import type { EdgeEnv } from '../env.ts'
import { ApiError, errorBody, modelNotFound } from '../errors.ts'
import { Ticket } from '../metering/ticket.ts'
import { type AnswerFrame, ChunkedAnswer, WholeAnswer } from '../openai/answer.ts'
import type { Dialect } from '../openai/dialect.ts'
import { tryResolveAlias } from '../registry/adapters.ts'
import { tryParseAdapterName } from '../registry/names.ts'
import { tryOpenObject } from '../registry/objects.ts'
import { forwardGenerate, type Generation } from '../router/forward.ts'
import { BrokenStream } from '../router/generate-events.ts'

/** A stream is never silent for longer. */
const SILENCE_MS = 1_000

export interface GenerateCall {
  readonly dialect: Dialect
  readonly model: string
  readonly stream: boolean
  readonly includeUsage: boolean
  readonly request: Omit<GenerateRequest, 'delta'>
}

/** What `model` means for this caller: the adapter's name and digest, both null for the bare base model. */
interface Resolved {
  readonly adapter: string | null
  readonly digest: Digest | null
}

/** @throws ApiError for every refusal before the first token */
export async function answerGeneration(c: Context<EdgeEnv>, call: GenerateCall): Promise<Response> {
  const { config, backends } = c.var.edge
  const startedMs = Date.now()
  const { tenant, keyId } = c.var.principal
  const { adapter, digest } = await resolveModel(c, call.model)
  const ticket = new Ticket(c.env.METER.get(c.env.METER.idFromName(tenant)), {
    request_id: c.var.requestId,
    tenant,
    key_id: keyId,
    route: c.req.path,
    adapter,
    digest,
    started_ms: startedMs,
  })
  await ticket.reserve()

  const clientLeft = new AbortController()
  c.req.raw.signal.addEventListener('abort', () => clientLeft.abort(), { once: true })
  const settle = (outcome: 'complete' | 'cut' | 'failed') => c.executionCtx.waitUntil(ticket.close(outcome, Date.now()))
  let generation: Generation
  try {
    generation = await forwardGenerate(
      {
        backends,
        capabilityKey: config.capabilityKey,
        tenant,
        requestId: c.var.requestId,
        signal: clientLeft.signal,
        openDelta: (missing) => tryOpenObject(c.env.DELTAS, missing),
        nowMs: Date.now,
      },
      { ...call.request, delta: digest },
    )
  } catch (error) {
    settle('failed')
    throw error
  }
  ticket.begin(generation.backend, generation.started)

  const frame: AnswerFrame = {
    dialect: call.dialect,
    id: `${call.dialect.idPrefix}${c.var.requestId.slice('req_'.length)}`,
    model: call.model,
    createdMs: startedMs,
    digest,
    base: generation.started.base,
  }
  c.header('x-polylora-adapter', digest ?? 'base')
  const metered = meteredEvents(generation, ticket, settle, clientLeft.signal)
  return call.stream ? streamAnswer(c, frame, call.includeUsage, metered, clientLeft) : wholeAnswer(c, frame, metered)
}

/** @throws ApiError 404, the same for a model that doesn't exist and for another tenant's */
async function resolveModel(c: Context<EdgeEnv>, model: string): Promise<Resolved> {
  const name = tryParseAdapterName(model)
  if (name && name.tenant === c.var.principal.tenant) {
    const digest = await tryResolveAlias(c.env.DB, name)
    if (digest) return { adapter: name.name, digest }
  }
  const { base } = await c.var.edge.backends.info(Date.now())
  if (model === base.name) return { adapter: null, digest: null }
  throw modelNotFound(model)
}

/** The events as they pass, counted; the account is closed when they end, break, or nobody reads on. */
async function* meteredEvents(
  generation: Generation,
  ticket: Ticket,
  settle: (outcome: 'complete' | 'cut' | 'failed') => void,
  clientLeft: AbortSignal,
): AsyncGenerator<GenerateEvent> {
  let outcome: 'complete' | 'cut' | 'failed' = 'cut'
  try {
    yield generation.started
    for await (const event of generation.events) {
      ticket.count(event, Date.now())
      if (event.event === 'done') outcome = 'complete'
      if (event.event === 'error') outcome = 'failed'
      yield event
    }
  } catch (error) {
    outcome = clientLeft.aborted ? 'cut' : 'failed'
    throw error
  } finally {
    settle(outcome)
  }
}

async function wholeAnswer(
  c: Context<EdgeEnv>,
  frame: AnswerFrame,
  events: AsyncGenerator<GenerateEvent>,
): Promise<Response> {
  const answer = new WholeAnswer(frame)
  try {
    for await (const event of events) {
      if (event.event === 'error') throw generationFailed()
      answer.add(event)
    }
  } catch (error) {
    throw error instanceof BrokenStream ? generationFailed() : error
  }
  return c.json(answer.body())
}

function streamAnswer(
  c: Context<EdgeEnv>,
  frame: AnswerFrame,
  includeUsage: boolean,
  events: AsyncGenerator<GenerateEvent>,
  clientLeft: AbortController,
): Response {
  const answer = new ChunkedAnswer(frame, includeUsage)
  const encoder = new TextEncoder()
  const data = (value: object | string) =>
    encoder.encode(`data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`)

  let pending: Promise<IteratorResult<GenerateEvent>> | undefined
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        for (;;) {
          pending ??= events.next()
          const next = await withinSilence(pending)
          // A comment, which clients skip: only a write finds out that the client has left.
          if (!next) return controller.enqueue(encoder.encode(': still here\n\n'))
          pending = undefined
          if (next.done) break
          if (next.value.event === 'error') throw new BrokenStream(next.value.message)
          const chunks = answer.chunks(next.value)
          for (const chunk of chunks) controller.enqueue(data(chunk))
          if (chunks.length > 0 && next.value.event !== 'done') return
        }
        controller.enqueue(data('[DONE]'))
      } catch (error) {
        if (!(error instanceof BrokenStream)) console.error(error)
        // The status is sent already: an error event in place of the end tells the client that this is not all.
        controller.enqueue(data(errorBody(generationFailed())))
      }
      await events.return(undefined)
      controller.close()
    },
    async cancel() {
      clientLeft.abort()
      await events.return(undefined)
    },
  })
  return c.body(body, 200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache' })
}

/** What `promise` gives, or undefined where it takes longer than SILENCE_MS. */
async function withinSilence<T>(promise: Promise<T>): Promise<T | undefined> {
  let timer: number | null = null
  const silence = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), SILENCE_MS)
  })
  try {
    return await Promise.race([promise, silence])
  } finally {
    clearTimeout(timer)
  }
}

function generationFailed(): ApiError {
  return new ApiError(502, 'generation_failed', 'The model server stopped before the answer was complete: try again.')
}
