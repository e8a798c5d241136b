// The caller's `Idempotency-Key`: the same key with the same request is answered, and charged, once.
import { sha256Hex } from '../../adapters/digest.ts'
import { ApiError } from '../errors.ts'
import type { IdempotencyKey } from './reservation.ts'

const KEY = /^[\x21-\x7e]{1,255}$/

/**
 * The key in `header` with a hash of what identifies the request; undefined where there is no key.
 * @throws ApiError 400 where it is not 1 to 255 visible ASCII characters
 */
export async function idempotencyKey(
  header: string | undefined,
  request: unknown,
): Promise<IdempotencyKey | undefined> {
  if (header === undefined) return undefined
  if (!KEY.test(header)) {
    throw new ApiError(400, 'invalid_idempotency_key', 'Idempotency-Key must be 1 to 255 visible ASCII characters.')
  }
  const fingerprint = await sha256Hex(JSON.stringify(request))
  return { key: header, fingerprint }
}
