// One request to one backend: token, POST, and where the delta is missing its bytes first. Also the other way round:
// a delta is brought to a backend before the request that needs it is complete.
// Invariant: bytes reach a backend only from storage, under the digest that the token names.
import type { CapabilityKey, Work } from '../../gpu-backend/capability.ts'
import { BASE_HEADER, type Digest } from '../../gpu-backend/protocol.ts'
import { ApiError, modelDeleted } from '../errors.ts'
import type { CachedObjects } from '../registry/cached-objects.ts'
import { MAX_DELTA_BYTES } from '../registry/objects.ts'
import { storageUnavailable } from '../registry/storage-failure.ts'
import { tryWithin } from '../try-within.ts'
import { DeltaRefused, readRefusal, TryNext } from './backend-refusal.ts'
import { type Backends, backendUnavailable } from './backends.ts'
import { capabilityHeaders } from './capability-headers.ts'

const PATHS = { generate: '/v1/generate', embed: '/v1/embeddings' }
/** A delta on its way to a backend that gets no further than this is not worth waiting for: 1 MB a second. */
const SLOWEST_BYTES_PER_MS = 1_000
/** A stream learns at once that its other end is gone. */
const NOTICED_MS = 100

export interface BackendContext {
  readonly backends: Backends
  readonly capabilityKey: CapabilityKey
  readonly objects: CachedObjects
  /** Whether the tenant has a version of these bytes still: what was resolved a moment ago may be deleted by now. */
  readonly isPublished: (digest: Digest) => Promise<boolean>
  readonly tenant: string
  readonly requestId: string
  /** Fingerprint of the base model that the request is for; a backend that serves another refuses it. */
  readonly base: string
  /** What the caller's request names the text that is sent to the model. */
  readonly promptField: 'messages' | 'prompt' | 'input'
  /** How long a backend may be silent; milliseconds. */
  readonly patienceMs: number
  /** Aborts the request on the backend. */
  readonly signal: AbortSignal
  readonly waitUntil: (promise: Promise<unknown>) => void
  readonly nowMs: () => number
}

/** No answer has begun as long as anybody waits for one: its backend may be at work on it all the same. */
class TooSlow extends Error {}

/** A delta that is being brought to a backend. */
export interface Warming {
  readonly url: string
  readonly digest: Digest
  /** True where its bytes had to be pushed. Never rejects: the request itself finds out what is wrong. */
  readonly pushed: Promise<boolean>
}

interface Asked {
  readonly work: 'generate' | 'embed'
  readonly delta: Digest | null
  readonly maxTokens: number
  readonly body: string
}

/**
 * The backend's answer to what is asked, and whether the delta's bytes had to be pushed for it.
 * @throws TryNext where another backend may do, ApiError where none would
 */
export async function callBackend(context: BackendContext, url: string, asked: Asked, warming: Warming | undefined) {
  const { work, delta, maxTokens, body } = asked
  const post = async () => {
    // A token of its own each time: bringing a delta may take longer than one lives.
    const headers = { ...(await headersFor(context, work, delta, maxTokens)), 'content-type': 'application/json' }
    return send(context, `${url}${PATHS[work]}`, { method: 'POST', headers, body })
  }

  let cold = warming?.url === url && warming.digest === delta && (await warming.pushed)
  let response = await post()
  if (response.status === 409 && delta !== null) {
    await response.body?.cancel()
    context.backends.forgetResident(url, delta)
    await pushDelta(context, url, delta)
    cold = true
    response = await post()
  }
  if (!response.ok) throw await readRefusal(response, { ...context, url }, context.patienceMs)
  if (delta !== null) context.backends.sawResident(url, delta, context.nowMs())
  return { response, cold }
}

/** Brings `digest` to the backend that will most likely be asked for it; undefined where it is believed to be there. */
export function warmDelta(context: BackendContext, digest: Digest): Warming | undefined {
  const [url] = context.backends.order(digest)
  if (!url || context.backends.isResident(url, digest, context.nowMs())) return undefined
  const pushed = pushWhereMissing(context, url, digest).catch(() => false)
  return { url, digest, pushed }
}

async function pushWhereMissing(context: BackendContext, url: string, digest: Digest): Promise<boolean> {
  const headers = await headersFor(context, 'look', digest, 0)
  const asked = await send(context, `${url}/v1/adapters/${digest}`, { method: 'HEAD', headers })
  if (asked.status !== 404) return false
  await pushDelta(context, url, digest)
  context.backends.sawResident(url, digest, context.nowMs())
  return true
}

async function pushDelta(context: BackendContext, url: string, digest: Digest): Promise<void> {
  const { objects } = context
  const object = await objects.tryOpen(digest).catch((error: unknown) => {
    throw notSupplied(context, digest, error)
  })
  if (!object) throw (await context.isPublished(digest)) ? objectMissing() : modelDeleted()
  const headers = await headersFor(context, 'admit', digest, 0)
  const { readable, writable } = new FixedLengthStream(object.bytes)
  const broken = passOn(object.body, writable)
  const put = { method: 'PUT', headers: { ...headers, 'content-type': 'application/octet-stream' }, body: readable }
  const patienceMs = context.patienceMs + object.bytes / SLOWEST_BYTES_PER_MS
  const response = await trySend(context, `${url}/v1/adapters/${digest}`, put, patienceMs)
  if (response instanceof Error) {
    // Who has not noticed by then that nobody reads on still waits for storage.
    const isBroken = (await tryWithin(broken, NOTICED_MS)) ?? true
    throw isBroken ? notSupplied(context, digest, response) : unreachable(context, url, response)
  }
  if (response.ok) {
    await response.body?.cancel()
    if (!object.cached) context.waitUntil(objects.remember(digest))
    return
  }
  const refused = await readRefusal(response, { ...context, url }, context.patienceMs)
  if (!(refused instanceof DeltaRefused) || !object.cached) throw refused
  // The copy in the cache is damaged; the one in storage may not be.
  await objects.forget([digest])
  await pushDelta(context, url, digest)
}

async function headersFor(context: BackendContext, work: Work, delta: Digest | null, maxTokens: number) {
  const { tenant, requestId, base, capabilityKey, nowMs } = context
  const limits = { max_tokens: maxTokens, max_delta_bytes: MAX_DELTA_BYTES }
  const permit = await capabilityHeaders(capabilityKey, { work, tenant, requestId, delta, nowMs: nowMs(), limits })
  return { ...permit, [BASE_HEADER]: base }
}

/** Passes `from` on; true where it has broken off, false also where `to` has. */
async function passOn(from: ReadableStream<Uint8Array>, to: WritableStream<Uint8Array>): Promise<boolean> {
  try {
    await from.pipeTo(to, { preventCancel: true })
    return false
  } catch {
    // What is broken itself cannot be cancelled any more.
    return await from.cancel().then(
      () => false,
      () => true,
    )
  }
}

function objectMissing(): ApiError {
  return new ApiError(500, 'adapter_object_missing', "The adapter's stored file is missing: publish the adapter again.")
}

/** Another backend may have the delta. */
function notSupplied({ requestId }: BackendContext, digest: Digest, reason: unknown): TryNext {
  console.error(JSON.stringify({ event: 'storage_failed', request_id: requestId, digest, reason: String(reason) }))
  return new TryNext(storageUnavailable(), 'not_supplied')
}

function unreachable({ requestId }: BackendContext, url: string, reason: unknown): TryNext {
  console.warn(JSON.stringify({ event: 'backend_unreachable', request_id: requestId, url, reason: String(reason) }))
  return new TryNext(backendUnavailable(), reason instanceof TooSlow ? 'slow' : 'ailing')
}

/** @throws TryNext where no answer begins in time */
async function send(context: BackendContext, url: string, init: RequestInit): Promise<Response> {
  const response = await trySend(context, url, init, context.patienceMs)
  if (response instanceof Error) throw unreachable(context, url, response)
  return response
}

/** What was wrong where no answer begins within `patienceMs`, of which sending the body is a part. */
async function trySend(
  context: BackendContext,
  url: string,
  init: RequestInit,
  patienceMs: number,
): Promise<Response | Error> {
  const tooSlow = new AbortController()
  const timer = setTimeout(() => tooSlow.abort(new TooSlow('no answer in time')), patienceMs)
  try {
    const signal = AbortSignal.any([context.signal, tooSlow.signal])
    return await fetch(url, { ...init, signal, redirect: 'manual' })
  } catch (error) {
    const reason: unknown = tooSlow.signal.aborted ? tooSlow.signal.reason : error
    return reason instanceof Error ? reason : new Error(String(reason))
  } finally {
    clearTimeout(timer)
  }
}
