// A backend's refusal in the edge's words: what the caller can do something about passes, the rest is ours.
// Knows which refusals another backend may not share. Invariant: no address of a backend is in what the caller reads.
import { ErrorBody } from '../../gpu-backend/protocol.ts'
import { ApiError } from '../errors.ts'
import { backendUnavailable } from './backends.ts'

/** For the operator: the backend's own sentence is for those who call it past the edge. */
const UNAUTHORIZED =
  "A backend does not take the edge's tokens: give both the same POLYLORA_BACKEND_SECRET, and clocks that agree."

/** For the operator, too; no fault while the base is changed on one backend after another. */
const WRONG_BASE =
  'A backend serves another base model than the request is for: give all backends of an edge the same --model.'

/** What is the matter with a backend: it is not well, has no room, or has another secret or base model than the request. */
type Hindrance = 'ailing' | 'full' | 'other_secret' | 'other_base'

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

/** What an answer that is not ok means; `promptField` is what the caller calls its text. */
export async function refusalOf(response: Response, promptField: string): Promise<Error> {
  const parsed = ErrorBody.safeParse(await response.json().catch(() => undefined))
  return parsed.success
    ? refusal(parsed.data, promptField)
    : refusal({ error: 'internal', message: `status ${response.status}` }, promptField)
}

/** What a backend's error means. */
export function refusal({ error: code, message, param }: ErrorBody, promptField: string): Error {
  switch (code) {
    case 'context_length_exceeded':
      return new ApiError(400, code, message, { param: promptField })
    case 'bad_request':
      return new ApiError(400, 'invalid_value', message, { param })
    case 'too_large':
      return new ApiError(413, 'request_too_large', message)
    case 'digest_mismatch':
    case 'invalid_delta':
      console.error(JSON.stringify({ event: 'delta_refused', code, message }))
      return new DeltaRefused(500, 'adapter_invalid', `The adapter cannot be applied: ${message}`)
    case 'deadline_exceeded':
      return new ApiError(504, code, message)
    case 'overloaded':
      return new TryNext(new ApiError(429, 'overloaded', message, { headers: { 'retry-after': '1' } }), 'full')
    case 'unavailable':
      return new TryNext(backendUnavailable(), 'ailing')
    case 'adapter_missing':
      return new TryNext(
        new ApiError(503, 'adapter_not_resident', 'The adapter could not be kept on the model server: try again.'),
        'full',
      )
    case 'unauthorized':
      // One that has another secret, as while the secret is changed on one backend after another.
      console.error(JSON.stringify({ event: 'backend_refused', code, message: UNAUTHORIZED }))
      return new TryNext(failed(), 'other_secret')
    case 'wrong_base':
      console.warn(JSON.stringify({ event: 'backend_refused', code, message: WRONG_BASE }))
      return new TryNext(baseNotServed(), 'other_base')
    default:
      console.error(JSON.stringify({ event: 'backend_refused', code, message }))
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
