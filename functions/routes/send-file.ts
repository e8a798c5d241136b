// Hands out a file that is named by its digest: whole or a range of it (RFC 9110, one range), cached for ever by whoever may.
import type { Digest } from '../../gpu-backend/protocol.ts'
import { ApiError } from '../errors.ts'
import type { ByteRange, ObjectStore } from '../registry/objects.ts'

interface NamedFile {
  readonly digest: Digest
  readonly bytes: number
}

/** @throws ApiError 416 where the range lies outside, 404 where storage has no such file */
export async function sendFile(request: Request, store: ObjectStore, { digest, bytes }: NamedFile): Promise<Response> {
  const headers = {
    etag: `"${digest}"`,
    'accept-ranges': 'bytes',
    // Its key opens it to one tenant: no shared cache may keep it, and no other key may find it.
    'cache-control': 'private, max-age=31536000, immutable',
    vary: 'authorization',
    'content-type': 'application/octet-stream',
  }
  if (listed(request.headers.get('if-none-match'), headers.etag)) return new Response(null, { status: 304, headers })
  const onlyIf = request.headers.get('if-range')
  const range =
    onlyIf === null || onlyIf === headers.etag ? tryParseRange(request.headers.get('range'), bytes) : undefined
  const file = await store.tryOpen(digest, range)
  if (!file)
    throw new ApiError(
      404,
      'file_not_found',
      `The file ${digest} is not in storage: the operator must publish it again.`,
    )
  const length = { 'content-length': String(file.bytes) }
  if (!range) return new Response(file.body, { headers: { ...headers, ...length } })
  const contentRange = { 'content-range': `bytes ${range.start}-${range.end}/${bytes}` }
  return new Response(file.body, { status: 206, headers: { ...headers, ...length, ...contentRange } })
}

/** The range in `header`; undefined where the whole file is to be sent: no range, several, or another unit. */
function tryParseRange(header: string | null, bytes: number): ByteRange | undefined {
  const [, first = '', last = ''] = /^bytes=(\d*)-(\d*)$/.exec(header ?? '') ?? []
  if (first === '' && last === '') return undefined
  const start = first === '' ? Math.max(0, bytes - Number(last)) : Number(first)
  const end = first === '' || last === '' ? bytes - 1 : Math.min(Number(last), bytes - 1)
  if (first !== '' && last !== '' && Number(last) < start) return undefined
  if (start < bytes && start <= end) return { start, end }
  throw new ApiError(416, 'range_not_satisfiable', `The file has ${bytes} bytes.`, {
    headers: { 'content-range': `bytes */${bytes}` },
  })
}

function listed(header: string | null, etag: string): boolean {
  return (header ?? '').split(',').some((tag) => tag.trim().replace(/^W\//, '') === etag || tag.trim() === '*')
}
