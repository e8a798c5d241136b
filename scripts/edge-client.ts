// Talks to the edge's HTTP API for the command line: JSON calls, and one upload that streams from disk.
// Knows no command. Invariant: every failure becomes a CliError with the edge's own sentence.
import { createReadStream } from 'node:fs'
import { type ClientRequest, request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { Transform } from 'node:stream'
import { text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import * as z from 'zod'
import { CliError } from './cli-error.ts'

export interface EdgeAddress {
  /** Such as http://127.0.0.1:8787 */
  readonly url: string
  readonly apiKey: string
}

/** As zod's are. */
interface Schema<Value> {
  parse(value: unknown): Value
}

const ErrorAnswer = z.object({ error: z.object({ message: z.string() }) })

/** `fetch` to a path of the edge. Throws CliError unless the answer is 2xx or one of `accepted`. */
export async function callEdge(
  edge: EdgeAddress,
  path: string,
  init: RequestInit = {},
  accepted: readonly number[] = [],
): Promise<Response> {
  const headers = new Headers(init.headers)
  headers.set('authorization', `Bearer ${edge.apiKey}`)
  if (typeof init.body === 'string') headers.set('content-type', 'application/json')
  const response = await fetch(edgeUrl(edge, path), { ...init, headers, redirect: 'manual' }).catch(
    (error: unknown) => {
      throw unreachable(edge, error)
    },
  )
  if (isRedirect(response.status)) throw redirected(edge, path, response.headers.get('location'))
  if (!response.ok && !accepted.includes(response.status)) throw refused(edge, response.status, await response.text())
  return response
}

/** A JSON answer, parsed by `schema`. Throws CliError. */
export async function callEdgeJson<Value>(
  edge: EdgeAddress,
  path: string,
  schema: Schema<Value>,
  init?: RequestInit,
): Promise<Value> {
  return parseAnswer(edge, path, await callEdge(edge, path, init), schema)
}

/** As `callEdgeJson`; undefined where the edge has nothing under that path. */
export async function tryCallEdgeJson<Value>(
  edge: EdgeAddress,
  path: string,
  schema: Schema<Value>,
): Promise<Value | undefined> {
  const response = await callEdge(edge, path, {}, [404])
  return response.status === 404 ? undefined : parseAnswer(edge, path, response, schema)
}

async function parseAnswer<Value>(
  edge: EdgeAddress,
  path: string,
  response: Response,
  schema: Schema<Value>,
): Promise<Value> {
  const body: unknown = await response.json().catch(() => undefined)
  try {
    return schema.parse(body)
  } catch {
    throw noEdge(edge, path)
  }
}

/** What answered is no edge, or one of another version. */
export function noEdge(edge: EdgeAddress, path: string): CliError {
  return new CliError(`${edge.url} answered ${path} with something else than a Polylora edge would; check --edge.`, 3)
}

/** What fetch throws while a body is read. */
export function isBrokenConnection(error: unknown): boolean {
  return error instanceof TypeError && (error.message === 'terminated' || error.message === 'fetch failed')
}

interface Upload {
  readonly file: string
  /** The bytes of the file that are sent: `end` is excluded. */
  readonly start: number
  readonly end: number
  readonly headers: Readonly<Record<string, string>>
  readonly onProgress?: ((sentBytes: number) => void) | undefined
  /** How long the connection may stand still. */
  readonly silenceMs?: number | undefined
}

/** As long as `fetch` waits for an answer. */
const SILENCE_MS = 300_000

/** PUTs a range of a file with its Content-Length, a piece at a time. Throws CliError. */
export async function uploadToEdge(
  edge: EdgeAddress,
  path: string,
  { file, start, end, headers, onProgress, silenceMs = SILENCE_MS }: Upload,
): Promise<void> {
  const url = edgeUrl(edge, path)
  const send = url.protocol === 'https:' ? httpsRequest : httpRequest
  const request = send(url, {
    method: 'PUT',
    headers: {
      ...headers,
      authorization: `Bearer ${edge.apiKey}`,
      'content-type': 'application/octet-stream',
      'content-length': end - start,
    },
  })
  request.setTimeout(silenceMs, () => request.destroy(Object.assign(new Error('silent'), { code: 'ETIMEDOUT' })))
  const answered = answerTo(request)
  let sent = 0
  const meter = new Transform({
    transform(piece: Buffer, _encoding, done) {
      sent += piece.byteLength
      onProgress?.(sent)
      done(null, piece)
    },
  })
  // An edge that refuses answers before it has read everything and closes: its answer matters more than the broken pipe.
  const sending = pipeline(createReadStream(file, { start, end: end - 1 }), meter, request).catch(() => undefined)
  const { status, location, body } = await answered.catch((error: unknown) => {
    throw unreachable(edge, error)
  })
  if (status < 200 || status > 299) {
    request.destroy()
    throw isRedirect(status) ? redirected(edge, path, location) : refused(edge, status, body)
  }
  await sending
}

/** Whatever of the request has been sent by then. */
function answerTo(request: ClientRequest) {
  return new Promise<{ status: number; location: string | undefined; body: string }>((resolve, reject) => {
    request.on('error', reject)
    request.on('response', (response) => {
      const { statusCode: status = 0, headers } = response
      text(response).then((body) => resolve({ status, location: headers.location, body }), reject)
    })
  })
}

function edgeUrl(edge: EdgeAddress, path: string): URL {
  try {
    return new URL(path, edge.url)
  } catch {
    throw new CliError(`--edge ${edge.url} is not a URL; give something like http://127.0.0.1:8787.`, 2)
  }
}

function isRedirect(status: number): boolean {
  return status >= 300 && status < 400
}

/** Followed, it would lose the key, which is for one server alone, or the body. */
function redirected(edge: EdgeAddress, path: string, location: string | null | undefined): CliError {
  const target = location ? URL.parse(location, edge.url)?.href : undefined
  return new CliError(`${edge.url} redirects ${path} to ${target ?? 'nowhere'}; give --edge the server that answers.`)
}

function unreachable(edge: EdgeAddress, error: unknown): CliError {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause)
  return new CliError(`The edge at ${edge.url} cannot be reached (${code}); start it with npm start or give --edge.`, 3)
}

function refused(edge: EdgeAddress, status: number, body: string): CliError {
  let value: unknown
  try {
    value = JSON.parse(body)
  } catch {
    value = undefined
  }
  const parsed = ErrorAnswer.safeParse(value)
  if (parsed.success) return new CliError(parsed.data.error.message, status >= 500 ? 3 : 1)
  const answered = `${edge.url} answered with HTTP status ${status}`
  // A failing edge may be spoken for by what stands before it.
  if (status >= 500) return new CliError(`${answered}.`, 3)
  return new CliError(`${answered}, and not as a Polylora edge would; check --edge.`)
}
