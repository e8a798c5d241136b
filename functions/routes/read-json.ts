// A request's JSON body, bounded: what is too large is refused before it is read, or as soon as it has grown too large.
import type * as z from 'zod/mini'
import { parseToFault } from '../../gpu-backend/protocol.ts'
import { ApiError, invalidRequest } from '../errors.ts'

/**
 * The body of `request`, parsed by `schema`, which may have a default for a request without one. `onText` sees what has been
 * read so far, as it grows.
 * @throws ApiError 413 past `maxBytes`, 400 where it isn't JSON or not what the schema says
 */
export async function readJson<Schema extends z.ZodMiniType>(
  request: Request,
  schema: Schema,
  maxBytes: number,
  onText: (text: string) => void = () => undefined,
): Promise<z.output<Schema>> {
  const text = await readText(request, maxBytes, onText)
  const parsed = parseToFault(schema, text === '' ? undefined : parseJson(text, request))
  if (parsed.success) return parsed.data
  throw text === '' ? notJson(request) : invalidRequest(parsed.error)
}

async function readText(request: Request, maxBytes: number, onText: (text: string) => void): Promise<string> {
  const refusal = new ApiError(413, 'request_too_large', `The request body is larger than ${maxBytes} bytes.`)
  if (Number(request.headers.get('content-length') ?? 0) > maxBytes) throw refusal
  if (!request.body) return ''
  const decoder = new TextDecoder()
  let [text, bytes] = ['', 0]
  for await (const piece of request.body) {
    bytes += piece.byteLength
    if (bytes > maxBytes) throw refusal
    text += decoder.decode(piece, { stream: true })
    onText(text)
  }
  return text + decoder.decode()
}

function parseJson(text: string, request: Request): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw notJson(request)
  }
}

function notJson({ headers }: Request): ApiError {
  const encoding = headers.get('content-encoding') ?? 'identity'
  const message =
    encoding === 'identity'
      ? 'The request body is not valid JSON.'
      : `The request body is compressed (${encoding}), which is not understood here: send it as it is.`
  return new ApiError(400, 'invalid_json', message)
}
