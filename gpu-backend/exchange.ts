// One HTTP request and its response: JSON and events in and out, refusals as their status and one sentence.
// Knows no routes and no engine. Invariant: no body is held beyond its bound, and a failure's reason goes to the log alone.
import type { IncomingMessage, ServerResponse } from 'node:http'
import * as z from 'zod/mini'
import { BackendError } from './errors.ts'
import { log } from './log.ts'
import { ERROR_STATUS, type GenerateEvent, parseToFault, REQUEST_ID_HEADER } from './protocol.ts'

// zod/mini speaks no language by itself, and refusals quote its messages.
z.config(z.locales.en())

/** A request's JSON: prompts of two million characters fit. */
export const MAX_BODY_BYTES = 8 * 1024 * 1024
/** How long a client may take nothing of what was written to it: then its connection ends, and nothing is held for it. */
export const MAX_UNREAD_MS = 120_000
/** How long an answer that has begun says nothing: far less than an edge waits, which takes a silent backend for one that is gone. */
export const MAX_QUIET_MS = 15_000
/** Told to clients with 429 and 503, in seconds. */
const RETRY_AFTER_S = 1

export interface Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly requestId: string
  /** As MAX_UNREAD_MS. */
  readonly maxUnreadMs: number
  /** As MAX_QUIET_MS. */
  readonly maxQuietMs: number
}

/** The body as `schema` describes it, and how long it was. @throws BackendError `bad_request` or `too_large` */
export async function readJsonBody<T>(
  request: IncomingMessage,
  schema: z.ZodMiniType<T>,
): Promise<{ readonly body: T; readonly bytes: number }> {
  const pieces: Buffer[] = []
  const bytes = await readBody(request, MAX_BODY_BYTES, (piece) => pieces.push(piece))
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(pieces)))
  } catch {
    throw new BackendError('bad_request', "The request's body is not JSON in UTF-8.")
  }
  const parsed = parseToFault(schema, value)
  if (parsed.success) return { body: parsed.data, bytes }
  const issue = parsed.error.issues[0]!
  throw new BackendError('bad_request', `${issue.path.join('.') || 'The body'}: ${issue.message}.`)
}

/**
 * Reads the body to its end and keeps nothing of it: a request that is cut off in the middle looks to its sender like a backend
 * that is gone.
 * @throws BackendError `too_large`
 */
export async function skipBody(request: IncomingMessage, maxBytes = MAX_BODY_BYTES): Promise<void> {
  await readBody(request, maxBytes, () => {})
}

/** Gives `take` the body's pieces as they come; returns their length in all. @throws BackendError `too_large` */
async function readBody(request: IncomingMessage, maxBytes: number, take: (piece: Buffer) => void): Promise<number> {
  let bytes = 0
  for await (const piece of request as AsyncIterable<Buffer>) {
    bytes += piece.length
    if (bytes > maxBytes) throw new BackendError('too_large', `The request's body is larger than ${maxBytes} bytes.`)
    take(piece)
  }
  return bytes
}

/** Writes one event, waiting where the client reads slowly. */
export async function send(exchange: Exchange, event: GenerateEvent): Promise<void> {
  const { response } = exchange
  if (response.destroyed || response.write(`${JSON.stringify(event)}\n`)) return
  limitUnread(exchange)
  await new Promise<void>((resolve) => {
    const done = () => {
      response.off('drain', done)
      response.off('close', done)
      resolve()
    }
    response.on('drain', done)
    response.on('close', done)
  })
  response.setTimeout(0)
}

/** Writes an empty line, which is no event: the answer goes on. Nothing where the client has still to take what was written. */
export function sendPulse({ response }: Exchange): void {
  if (response.headersSent && !response.writableEnded && !response.writableNeedDrain) response.write('\n')
}

/** From now on until its response has gone out, Node ends the connection where the client takes nothing for too long. */
export function limitUnread({ response, maxUnreadMs }: Exchange): void {
  response.setTimeout(maxUnreadMs)
}

/** Answers with `body`; undefined: with the status alone. */
export function sendJson({ response, requestId }: Exchange, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json', [REQUEST_ID_HEADER]: requestId })
  response.end(JSON.stringify(body))
}

/** Answers with the error, unless an answer has begun or the client has left. */
export function sendError(exchange: Exchange, error: BackendError): void {
  const { response, request } = exchange
  if (response.headersSent || response.destroyed) return
  const status = ERROR_STATUS[error.code]
  if (status === 429 || status === 503) response.setHeader('retry-after', RETRY_AFTER_S)
  // What is left of a body that was refused is not read: the connection ends with this answer.
  if (!request.complete) response.setHeader('connection', 'close')
  const body = {
    error: error.code,
    message: error.message,
    digest: error.digest,
    param: error.param,
  }
  sendJson(exchange, status, body)
}

/** What a client is told of `error`: a refusal as it is; where the backend failed the log has the reason, the client its request. */
export function toBackendError(error: unknown, { requestId, request }: Exchange): BackendError {
  if (error instanceof BackendError && error.code !== 'internal') return error
  log('error', 'request_failed', {
    request_id: requestId,
    route: request.url,
    reason: error instanceof Error ? reasonOf(error) : String(error),
  })
  return new BackendError('internal', `The backend failed; its log has the reason under request ${requestId}.`)
}

/** Where it was thrown, too, unless it comes from another thread or process, whose message says all. */
function reasonOf(error: Error): string {
  return error instanceof BackendError ? error.message : (error.stack ?? error.message)
}
