// A meter's answer in HTTP: the refusal where it is one, and the limits as OpenAI's x-ratelimit headers.
import { ApiError, incorrectApiKey } from '../errors.ts'
import type { RateState, ReserveAnswer } from './reservation.ts'

/** Trying again doesn't help: OpenAI's clients do so on 429 and 409 unless they are told. */
const NOT_AGAIN = { headers: { 'x-should-retry': 'false' } }

/** Undefined where the request may go on (`granted`) or has been answered before (`replay`). */
export function refusalOf(answer: ReserveAnswer): ApiError | undefined {
  switch (answer.kind) {
    case 'granted':
    case 'replay':
      return undefined
    case 'limited': {
      const seconds = Math.ceil(answer.retryAfterMs / 1000)
      return new ApiError(
        429,
        'rate_limit_exceeded',
        `The limit of ${answer.by} per minute is reached: try again in ${seconds} s.`,
        { headers: { 'retry-after': String(seconds) } },
      )
    }
    case 'unpaid':
      return new ApiError(
        429,
        'insufficient_quota',
        'The balance does not cover the most that this request may cost: top it up, or set a lower max_tokens.',
        NOT_AGAIN,
      )
    // As everywhere, once the edge that still remembered the key looks it up again.
    case 'erased':
      return incorrectApiKey()
    case 'in_progress':
      return new ApiError(
        409,
        'idempotency_key_in_use',
        'A request with this Idempotency-Key is being answered: wait for it.',
        NOT_AGAIN,
      )
    case 'other_request':
      return new ApiError(
        422,
        'idempotency_key_reused',
        'This Idempotency-Key came with another request before: use a new key for a new request.',
      )
    case 'too_large':
      return new ApiError(
        409,
        'answer_not_kept',
        'This Idempotency-Key has been answered and charged, and its answer was too large to keep or made room for later ones: use a new key to pay for another.',
        NOT_AGAIN,
      )
  }
}

/** The x-ratelimit headers, as OpenAI names them; none for what has no limit. */
export function rateHeaders(rate: RateState): Record<string, string> {
  const headers: Record<string, string> = {}
  for (const name of ['requests', 'tokens'] as const) {
    const limit = rate[name]
    if (!limit) continue
    headers[`x-ratelimit-limit-${name}`] = String(limit.limit)
    headers[`x-ratelimit-remaining-${name}`] = String(limit.remaining)
    headers[`x-ratelimit-reset-${name}`] = `${(limit.resetMs / 1000).toFixed(3)}s`
  }
  return headers
}
