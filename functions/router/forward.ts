// One request on the backends: token, POST, and where the delta is missing PUT it and repeat; the next backend where
// one cannot be reached. Invariant: a generation is returned only after
// its first event, so every refusal until then is an HTTP status.
import { type CapabilityKey, mintCapability } from '../../gpu-backend/capability.ts'
import {
  type Digest,
  type EmbedRequest,
  EmbedResponse,
  ErrorBody,
  type GenerateEvent,
  type GenerateRequest,
  REQUEST_ID_HEADER,
} from '../../gpu-backend/protocol.ts'
import { ApiError } from '../errors.ts'
import { MAX_DELTA_BYTES } from '../registry/objects.ts'
import { type Backends, backendUnavailable } from './backends.ts'
import { BrokenStream, readGenerateEvents } from './generate-events.ts'

const TOKEN_LIFE_MS = 60_000
const MAX_TRIES = 3
/** More than any context holds: the backend's own limit is what counts. */
const UNLIMITED_TOKENS = 1_000_000
/** Until the backend begins its answer: its queue is part of it. */
const FIRST_ANSWER_TIMEOUT_MS = 120_000
const RETRY_JITTER_MS = 50

export interface Generation {
  readonly backend: string
  /** The delta's bytes had to be pushed first. */
  readonly cold: boolean
  readonly started: Extract<GenerateEvent, { event: 'started' }>
  /** Everything after `started`. @throws BrokenStream */
  readonly events: AsyncGenerator<GenerateEvent>
}

export interface ForwardContext {
  readonly backends: Backends
  readonly capabilityKey: CapabilityKey
  readonly tenant: string
  readonly requestId: string
  /** Aborts the request on the backend. */
  readonly signal: AbortSignal
  /** The delta's bytes from object storage; undefined where it holds none. */
  readonly openDelta: (digest: Digest) => Promise<{ body: ReadableStream<Uint8Array>; bytes: number } | undefined>
  readonly nowMs: () => number
}

/** A failure that another backend may not share. */
class TryNext extends Error {
  readonly refusal: ApiError
  readonly ailing: boolean

  constructor(refusal: ApiError, ailing: boolean) {
    super(refusal.message)
    this.refusal = refusal
    this.ailing = ailing
  }
}

/**
 * Starts `request` on the best backend that takes it.
 * @throws ApiError where it was refused, or no backend could be reached
 */
export function forwardGenerate(context: ForwardContext, request: GenerateRequest): Promise<Generation> {
  return onBestBackend(context, request.delta, async (backend) => {
    const maxTokens = request.sampling.max_tokens ?? UNLIMITED_TOKENS
    const work = { path: '/v1/generate', delta: request.delta, maxTokens, body: JSON.stringify(request) }
    const { response, cold } = await askBackend(context, backend, work)
    return { ...(await begin(context.backends, backend, response)), cold }
  })
}

export interface Embedding {
  readonly backend: string
  readonly cold: boolean
  readonly answer: EmbedResponse
}

/** Embeds `request` on the best backend that takes it. Throws as `forwardGenerate`. */
export function forwardEmbed(context: ForwardContext, request: EmbedRequest): Promise<Embedding> {
  return onBestBackend(context, request.delta, async (backend) => {
    const work = { path: '/v1/embeddings', delta: request.delta, maxTokens: 0, body: JSON.stringify(request) }
    const { response, cold } = await askBackend(context, backend, work)
    return { backend, cold, answer: EmbedResponse.parse(await response.json()) }
  })
}

/** Tries `work` on one backend after another, as long as the failure is one that another may not share. */
async function onBestBackend<Result>(
  context: ForwardContext,
  delta: Digest | null,
  work: (backend: string) => Promise<Result>,
): Promise<Result> {
  const { backends, nowMs } = context
  let refusal = backendUnavailable()
  const urls = backends.order(delta ?? context.requestId, nowMs()).slice(0, MAX_TRIES)
  for (const [attempt, url] of urls.entries()) {
    if (attempt > 0) await jitter()
    try {
      const result = await work(url)
      backends.answered(url)
      return result
    } catch (error) {
      if (!(error instanceof TryNext) || context.signal.aborted) throw error
      if (error.ailing) backends.failed(url, nowMs())
      refusal = error.refusal
    }
  }
  throw refusal
}

interface Work {
  readonly path: string
  readonly delta: Digest | null
  readonly maxTokens: number
  readonly body: string
}

/** One request to one backend; where the delta is missing there, its bytes first. */
async function askBackend(context: ForwardContext, url: string, { path, delta, maxTokens, body }: Work) {
  const token = await mintCapability(context.capabilityKey, {
    tenant: context.tenant,
    delta,
    request_id: context.requestId,
    expires_ms: context.nowMs() + TOKEN_LIFE_MS,
    limits: { max_tokens: maxTokens, max_delta_bytes: MAX_DELTA_BYTES },
  })
  const headers = { authorization: `Bearer ${token}`, [REQUEST_ID_HEADER]: context.requestId }
  const json = { ...headers, 'content-type': 'application/json' }
  const post = () => send(context, `${url}${path}`, { method: 'POST', headers: json, body })

  let response = await post()
  const cold = response.status === 409 && delta !== null
  if (cold) {
    await response.body?.cancel()
    await pushDelta(context, url, delta, headers)
    response = await post()
  }
  if (!response.ok) throw await refusalOf(response)
  return { response, cold }
}

async function begin(backends: Backends, url: string, { body }: Response): Promise<Omit<Generation, 'cold'>> {
  if (!body) throw new TryNext(backendUnavailable(), true)
  const events = readGenerateEvents(body)
  try {
    const { value: first } = await events.next()
    if (first?.event === 'error') throw refusal(first.error, first.message)
    if (first?.event !== 'started') throw new BrokenStream('the backend did not begin with `started`')
    return { backend: url, started: first, events: counted(backends, url, events) }
  } catch (error) {
    throw error instanceof BrokenStream ? new TryNext(backendUnavailable(), true) : error
  }
}

async function* counted(backends: Backends, url: string, events: AsyncGenerator<GenerateEvent>) {
  backends.requestStarted(url)
  try {
    yield* events
  } finally {
    backends.requestEnded(url)
  }
}

async function pushDelta(
  context: ForwardContext,
  url: string,
  digest: Digest,
  headers: Record<string, string>,
): Promise<void> {
  const delta = await context.openDelta(digest)
  if (!delta) {
    throw new ApiError(
      500,
      'adapter_object_missing',
      "The adapter's stored file is missing: publish the adapter again.",
    )
  }
  const response = await send(context, `${url}/v1/adapters/${digest}`, {
    method: 'PUT',
    headers: { ...headers, 'content-type': 'application/octet-stream' },
    body: delta.body.pipeThrough(new FixedLengthStream(delta.bytes)),
  })
  if (!response.ok) throw await refusalOf(response)
  await response.body?.cancel()
}

async function send(context: ForwardContext, url: string, init: RequestInit): Promise<Response> {
  const tooSlow = new AbortController()
  const timer = setTimeout(() => tooSlow.abort(new Error('no answer in time')), FIRST_ANSWER_TIMEOUT_MS)
  try {
    const signal = AbortSignal.any([context.signal, tooSlow.signal])
    return await fetch(url, { ...init, signal, redirect: 'manual' })
  } catch (error) {
    console.warn(
      JSON.stringify({ event: 'backend_unreachable', request_id: context.requestId, url, reason: String(error) }),
    )
    throw new TryNext(backendUnavailable(), true)
  } finally {
    clearTimeout(timer)
  }
}

async function refusalOf(response: Response): Promise<Error> {
  const body = await response.text()
  const parsed = ErrorBody.safeParse(tryParseJson(body))
  return parsed.success
    ? refusal(parsed.data.error, parsed.data.message)
    : refusal('internal', `status ${response.status}`)
}

/** A backend's refusal in the edge's words: what the caller can do something about passes, the rest is ours. */
function refusal(code: string, message: string): Error {
  switch (code) {
    case 'context_length_exceeded':
      return new ApiError(400, code, message, { param: 'messages' })
    case 'bad_request':
      return new ApiError(400, 'invalid_value', message)
    case 'too_large':
      return new ApiError(413, 'request_too_large', message)
    case 'digest_mismatch':
    case 'invalid_delta':
      console.error(JSON.stringify({ event: 'delta_refused', code, message }))
      return new ApiError(500, 'adapter_invalid', `The adapter cannot be applied: ${message}`)
    case 'overloaded':
      return new TryNext(new ApiError(429, 'overloaded', message, { headers: { 'retry-after': '1' } }), false)
    case 'unavailable':
      return new TryNext(backendUnavailable(), true)
    case 'adapter_missing':
      return new TryNext(
        new ApiError(503, 'adapter_not_resident', 'The adapter could not be kept on the model server: try again.'),
        false,
      )
    default:
      console.error(JSON.stringify({ event: 'backend_refused', code, message }))
      return new ApiError(502, 'backend_error', 'The model server failed to answer this request.')
  }
}

function tryParseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Keeps the retries of many edges apart. */
function jitter(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.random() * RETRY_JITTER_MS))
}
