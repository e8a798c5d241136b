// Calls to the edge that served this page. Knows no route.
// Invariant: a failure is an EdgeError with one sentence for the user; a key goes into the authorization header only.
import type * as z from 'zod/mini'
import { ErrorAnswer } from '../../openai/answer-schemas.ts'

/** A refusal of the edge (its HTTP status and code), or status 0 where it could not be reached. */
export class EdgeError extends Error {
  override readonly name = 'EdgeError'
  readonly status: number
  readonly code: string

  constructor(status: number, code: string, message: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

/** `fetch` to a path. Throws EdgeError unless the answer is 2xx. */
export async function callEdge(key: string, path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers)
  try {
    headers.set('authorization', `Bearer ${key}`)
  } catch {
    throw new EdgeError(0, 'invalid_api_key', 'A key has plain letters, digits and signs only: copy it once more.')
  }
  if (typeof init.body === 'string') headers.set('content-type', 'application/json')
  const response = await fetch(path, { ...init, headers }).catch((error: unknown) => {
    throw init.signal?.aborted ? error : unreachable()
  })
  if (response.ok) return response
  throw refusalOf(response.status, await response.text().catch(() => ''))
}

/** A JSON answer, parsed by `schema`. Throws EdgeError. */
export async function readEdge<Value>(
  key: string,
  path: string,
  schema: z.ZodMiniType<Value>,
  init?: RequestInit,
): Promise<Value> {
  const file = await readFile(key, path, init)
  const parsed = schema.safeParse(tryParse(await file.text()))
  if (parsed.success) return parsed.data
  throw new EdgeError(
    502,
    'unexpected_answer',
    `The edge gave an answer at ${path} that this page does not understand.`,
  )
}

/** A whole answer. Throws EdgeError, also where it breaks off. */
export async function readFile(key: string, path: string, init?: RequestInit): Promise<Blob> {
  const response = await callEdge(key, path, init)
  return response.blob().catch((error: unknown) => {
    if (init?.signal?.aborted) throw error
    throw new EdgeError(0, 'broke_off', 'The edge’s answer broke off: check the connection and try again.')
  })
}

/** `callEdge` with a JSON body. */
export function sendEdge(
  key: string,
  method: 'POST' | 'PUT' | 'PATCH' | 'DELETE',
  path: string,
  body?: object,
): Promise<Response> {
  return callEdge(key, path, { method, ...(body ? { body: JSON.stringify(body) } : {}) })
}

export function unreachable(): EdgeError {
  return new EdgeError(0, 'unreachable', 'The edge cannot be reached: check the connection and try again.')
}

export function refusalOf(status: number, body: string): EdgeError {
  const parsed = ErrorAnswer.safeParse(tryParse(body))
  if (!parsed.success) return new EdgeError(status, 'unknown', `The edge answered with HTTP status ${status}.`)
  return new EdgeError(status, parsed.data.error.code, parsed.data.error.message)
}

function tryParse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
