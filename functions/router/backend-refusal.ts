// A backend's refusal in the edge's words: what the caller can do something about passes, the rest is ours.
// Knows which refusals another backend may not share. Invariant: no address of a backend is in what the caller reads.
import { ErrorBody } from '../../gpu-backend/protocol.ts'
import { ApiError } from '../errors.ts'
import { tryWithin } from '../try-within.ts'
import { backendUnavailable } from './backends.ts'

// For the operator, in the log; callers read another sentence.

/** The backend's own sentence is for those who call it past the edge. */
const UNAUTHORIZED =
  "A backend does not take the edge's tokens: give both the same POLYLORA_BACKEND_SECRET, and clocks that agree."
/** No fault while the base is changed on one backend after another. */
const WRONG_BASE =
  'A backend serves another base model than the request is for: give all backends of an edge the same --model.'
/** Of answers that are no backend's. */
const BODY_TOO_LARGE =
  'What stands in front of a backend takes no body as large as this adapter: give the backend an address that is not proxied.'
const NO_BACKEND = 'What stands in front of a backend has answered in its place: see whether the backend is up.'

/**
 * What is the matter with a backend: it is not well, takes longer than anybody waits (which one that is well may, and a probe
 * tells from one that is not), has no room, has another secret or base model than the request, or lacks a delta that cannot be
 * brought to it.
 */
type Hindrance = 'ailing' | 'slow' | 'full' | 'other_secret' | 'other_base' | 'not_supplied'

/** A failure that another backend may not share. */
export class TryNext extends Error {
  readonly refusal: ApiError
  readonly hindrance: Hindrance

  constructor(refusal: ApiError, hindrance: Hindrance) {
    super(refusal.message)
    this.refusal = refusal
    this.hindrance = hindrance
  }
}

/** The bytes that were pushed do not hash to their digest, or are no delta for this base. */
export class DeltaRefused extends ApiError {}

/** What was asked, and where: the log says so of each refusal. */
interface Refused {
  readonly requestId: string
  /** Of the backend. */
  readonly url: string
  /** What the caller calls its text. */
  readonly promptField: string
}

/** What an answer that is not ok means, of which nothing may be missing for longer than `patienceMs`. */
export async function readRefusal(
  response: Response,
  refused: Refused,
  patienceMs: number,
): Promise<ApiError | TryNext> {
  const body = await tryWithin(response.json(), patienceMs).catch(() => undefined)
  const parsed = ErrorBody.safeParse(body)
  return parsed.success ? refusalOf(parsed.data, refused) : noBackend(response.status, refused)
}

/**
 * An answer in nobody's words comes from what stands in front of a backend: where one cannot be reached, Cloudflare's network
 * answers in its place (502, 504, 520 to 530), and no connection is refused.
 */
function noBackend(status: number, { requestId: request_id, url }: Refused): TryNext {
  const tooLarge = status === 413
  const message = tooLarge ? BODY_TOO_LARGE : NO_BACKEND
  console.warn(JSON.stringify({ event: 'backend_unreachable', request_id, url, status, message }))
  return tooLarge ? new TryNext(failed(), 'full') : new TryNext(backendUnavailable(), 'ailing')
}

/** What a backend's error means. */
export function refusalOf({ error: code, message, param }: ErrorBody, refused: Refused): ApiError | TryNext {
  const log = { code, request_id: refused.requestId, url: refused.url }
  switch (code) {
    case 'context_length_exceeded':
      return new ApiError(400, code, message, { param: refused.promptField })
    case 'bad_request':
      return new ApiError(400, 'invalid_value', message, { param })
    case 'too_large':
      return new ApiError(413, 'request_too_large', message)
    case 'digest_mismatch':
    case 'invalid_delta':
      console.error(JSON.stringify({ event: 'delta_refused', ...log, message }))
      return new DeltaRefused(500, 'adapter_invalid', `The adapter cannot be applied: ${message}`)
    case 'deadline_exceeded':
      return new ApiError(504, code, message)
    case 'overloaded':
      return new TryNext(new ApiError(429, 'overloaded', message, { headers: { 'retry-after': '1' } }), 'full')
    case 'unavailable':
      console.warn(JSON.stringify({ event: 'backend_refused', ...log, message }))
      return new TryNext(backendUnavailable(), 'ailing')
    case 'adapter_missing':
      return new TryNext(
        new ApiError(503, 'adapter_not_resident', 'The adapter could not be kept on the model server: try again.'),
        'full',
      )
    case 'unauthorized':
      // One that has another secret, as while the secret is changed on one backend after another.
      console.error(JSON.stringify({ event: 'backend_refused', ...log, message: UNAUTHORIZED }))
      return new TryNext(failed(), 'other_secret')
    case 'wrong_base':
      console.warn(JSON.stringify({ event: 'backend_refused', ...log, message: WRONG_BASE }))
      return new TryNext(baseNotServed(), 'other_base')
    default:
      console.error(JSON.stringify({ event: 'backend_refused', ...log, message }))
      return failed()
  }
}

function baseNotServed(): ApiError {
  return new ApiError(
    503,
    'base_not_served',
    'No model server has the base model that this is for: an adapter must have been published for the base of GET /v1/base.',
  )
}

function failed(): ApiError {
  return new ApiError(502, 'backend_error', 'The model server failed to answer this request.')
}
