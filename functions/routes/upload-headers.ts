// What an upload by digest says of itself before its body: the digest and the size.
import { Digest } from '../../gpu-backend/protocol.ts'
import { ApiError } from '../errors.ts'

type Uploaded = 'delta' | 'file' | 'part'

/** `value` is in the request's parameter or header `param`. @throws ApiError 400 */
export function parseDigest(value: string | undefined, param: string): Digest {
  const parsed = Digest.safeParse(value)
  if (parsed.success) return parsed.data
  throw new ApiError(400, 'invalid_digest', `${param} must be sha256:<64 lower-case hex digits>.`, { param })
}

/** The Content-Length in `value`. @throws ApiError 411 where there is none, 413 past `limit` */
export function declaredBytes(value: string | undefined, limit: number, what: Uploaded): number {
  if (!value || !/^\d{1,15}$/.test(value)) {
    throw new ApiError(
      411,
      'length_required',
      `Send Content-Length: a ${what} is stored as it arrives, so its size comes first.`,
    )
  }
  checkBytes(Number(value), limit, what)
  return Number(value)
}

/** @throws ApiError 413 past `limit` */
export function checkBytes(bytes: number, limit: number, what: Uploaded): void {
  if (bytes <= limit) return
  throw new ApiError(413, `${what}_too_large`, `The ${what} has ${bytes} bytes; at most ${limit} can be served.`)
}
