// One request on the backends: the best one first, the next where one cannot be reached or will not take it.
// Invariant: a generation is returned only after its first event, so every refusal until then is an HTTP status; after
// that nothing is tried again.
import {
  type Digest,
  type EmbedRequest,
  EmbedResponse,
  type GenerateEvent,
  type GenerateRequest,
  MAX_EMBED_INPUTS,
} from '../../gpu-backend/protocol.ts'
import type { ApiError } from '../errors.ts'
import { encodeVector } from '../openai/vector.ts'
import { tryWithin } from '../try-within.ts'
import { refusalOf, TryNext } from './backend-refusal.ts'
import { backendUnavailable } from './backends.ts'
import { type BackendContext, callBackend, type Warming } from './call-backend.ts'
import { BrokenStream, readGenerateEvents } from './generate-events.ts'

/** So many backends are asked, one after another. */
export const MAX_TRIES = 3
const RETRY_JITTER_MS = 50
/**
 * UTF-8 of the texts in one request for embeddings, beyond its first: a backend says nothing before the last vector is there. Text
 * in English is some 4,000 tokens of it, none is more than 16,384; a model of 1.2B embeds 140 to 240 a second on two cores, and
 * an edge waits 120 s.
 */
const MAX_EMBED_BYTES = 16_384
/** More than any context holds: the backend's own limit is what counts. */
const UNLIMITED_TOKENS = 1_000_000

export interface Generation {
  readonly backend: string
  /** The delta's bytes had to be pushed first. */
  readonly cold: boolean
  readonly started: Extract<GenerateEvent, { event: 'started' }>
  /** Everything after `started`. @throws BrokenStream */
  readonly events: AsyncGenerator<GenerateEvent>
  /** To be called when it has ended, whichever way: the backend is less busy then. */
  readonly release: () => void
}

export interface Embedding {
  readonly backend: string
  readonly cold: boolean
  /** As `encodeVector` writes them, which is a third of what their numbers take as text or in memory. */
  readonly vectors: readonly string[]
  readonly promptTokens: number
}

/**
 * Starts `request` on the best backend that takes it.
 * @throws ApiError where it was refused, or no backend could be reached
 */
export function forwardGenerate(
  context: BackendContext,
  request: GenerateRequest,
  warming: Warming | undefined,
): Promise<Generation> {
  return onBestBackend(context, request.delta, async (backend) => {
    const maxTokens = request.sampling.max_tokens ?? UNLIMITED_TOKENS
    const asked = { work: 'generate', delta: request.delta, maxTokens, body: JSON.stringify(request) } as const
    const release = context.backends.claim(backend)
    try {
      const { response, cold } = await callBackend(context, backend, asked, warming)
      return { backend, cold, release, ...(await begin(response, context, backend)) }
    } catch (error) {
      release()
      throw error
    }
  })
}

/** Embeds any number of texts, as many at a time as a backend takes and has done soon. Throws as `forwardGenerate`. */
export async function forwardEmbed(
  context: BackendContext,
  { input, ...request }: EmbedRequest,
  warming: Warming | undefined,
): Promise<Embedding> {
  const embed = (texts: string[]) => embedAtOnce(context, { ...request, input: texts }, warming)
  const [begin, ...rest] = cut(input)
  const first = await embed(begin ?? [])
  const vectors = [...first.vectors]
  let { promptTokens } = first
  for (const texts of rest) {
    const next = await embed(texts)
    vectors.push(...next.vectors)
    promptTokens += next.promptTokens
  }
  return { ...first, vectors, promptTokens }
}

/** The texts in their order, so many at a time; one that is too long for that by itself. */
function cut(input: readonly string[]): string[][] {
  const pieces: string[][] = []
  let bytes = 0
  for (const text of input) {
    const more = new TextEncoder().encode(text).byteLength
    const last = pieces.at(-1)
    bytes += more
    if (last && last.length < MAX_EMBED_INPUTS && bytes <= MAX_EMBED_BYTES) last.push(text)
    else {
      pieces.push([text])
      bytes = more
    }
  }
  return pieces
}

function embedAtOnce(context: BackendContext, request: EmbedRequest, warming: Warming | undefined): Promise<Embedding> {
  return onBestBackend(context, request.delta, async (backend) => {
    const asked = { work: 'embed', delta: request.delta, maxTokens: 0, body: JSON.stringify(request) } as const
    const release = context.backends.claim(backend)
    try {
      const { response, cold } = await callBackend(context, backend, asked, warming)
      const body = await tryWithin(response.json(), context.patienceMs).catch(() => undefined)
      const answer = EmbedResponse.safeParse(body)
      if (!answer.success) throw new TryNext(backendUnavailable(), 'ailing')
      const { embeddings, prompt_tokens: promptTokens } = answer.data
      return { backend, cold, vectors: embeddings.map(encodeVector), promptTokens }
    } finally {
      release()
    }
  })
}

/** Tries `work` on one backend after another, as long as the failure is one that another may not share. */
async function onBestBackend<Result>(
  context: BackendContext,
  delta: Digest | null,
  work: (backend: string) => Promise<Result>,
): Promise<Result> {
  const { backends, base, nowMs } = context
  context.waitUntil(backends.probe(nowMs()))
  let refused: ApiError | undefined
  let tries = 0
  for (const url of backends.order(delta ?? context.requestId)) {
    if (tries === MAX_TRIES) break
    if (tries > 0) await jitter()
    try {
      const result = await work(url)
      backends.answered(url, nowMs())
      return result
    } catch (error) {
      if (!(error instanceof TryNext)) throw error
      // Nobody waits for another backend, and this one has done nothing wrong.
      if (context.signal.aborted) throw error.refusal
      if (error.hindrance === 'ailing') backends.failed(url)
      if (error.hindrance === 'other_base') backends.doesNotServe(url, base)
      if (error.hindrance === 'other_base' || error.hindrance === 'other_secret') {
        // It has done nothing, and says nothing of those that the request is for: any number may be passed over.
        refused ??= error.refusal
        continue
      }
      tries++
      refused = error.refusal
    }
  }
  throw refused ?? backendUnavailable()
}

async function begin(
  { body }: Response,
  { patienceMs, promptField, requestId }: BackendContext,
  url: string,
): Promise<Pick<Generation, 'started' | 'events'>> {
  if (!body) throw new TryNext(backendUnavailable(), 'ailing')
  const events = readGenerateEvents(body, patienceMs)
  try {
    const { value: first } = await events.next()
    if (first?.event === 'error') throw refusalOf(first, { promptField, requestId, url })
    if (first?.event !== 'started') throw new BrokenStream('the backend did not begin with `started`')
    return { started: first, events }
  } catch (error) {
    // Else the backend would go on generating what nobody reads.
    await events.return(undefined)
    throw error instanceof BrokenStream ? new TryNext(backendUnavailable(), 'ailing') : error
  }
}

/** Keeps the retries of many edges apart. */
function jitter(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.random() * RETRY_JITTER_MS))
}
