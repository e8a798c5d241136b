// A refusal of the edge, those that several places make, and the only place that writes OpenAI's error JSON.
// Invariant: an answer never holds a stack trace, a backend's address or another tenant's names.
import type * as z from 'zod/mini'
import type { ErrorAnswer } from './openai/answer-schemas.ts'

interface ErrorDetails {
  /** The request's parameter at fault. */
  readonly param?: string | undefined
  readonly headers?: Record<string, string>
}

/** A refusal with its HTTP status, OpenAI's `code`, and one sentence that says what to do. */
export class ApiError extends Error {
  readonly status: number
  readonly code: string
  readonly param: string | undefined
  readonly headers: Record<string, string>

  constructor(status: number, code: string, message: string, details: ErrorDetails = {}) {
    super(message)
    this.status = status
    this.code = code
    this.param = details.param
    this.headers = details.headers ?? {}
  }
}

/** The body that OpenAI's clients understand: `{"error": {message, type, param, code}}`. */
export function errorBody(error: ApiError): ErrorAnswer {
  return {
    error: { message: error.message, type: errorType(error.status), param: error.param ?? null, code: error.code },
  }
}

export function errorResponse(error: ApiError): Response {
  return Response.json(errorBody(error), { status: error.status, headers: error.headers })
}

function errorType(status: number): string {
  if (status === 401) return 'authentication_error'
  if (status === 403) return 'permission_error'
  if (status === 429) return 'rate_limit_error'
  return status >= 500 ? 'server_error' : 'invalid_request_error'
}

/** The first complaint of a schema, as a refusal that names the parameter. */
export function invalidRequest(error: z.core.$ZodError): ApiError {
  const issue = firstIssue(error.issues)
  const path = issue.path.map(String)
  const where = path.length > 0 ? `'${path.join('.')}'` : 'the request body'
  return new ApiError(400, 'invalid_value', `Invalid value for ${where}: ${issue.message}.`, { param: path[0] })
}

/** A union complains of all its members; the one that got furthest into the value says most. */
function firstIssue(issues: readonly z.core.$ZodIssue[]): z.core.$ZodIssue {
  const issue = issues[0]!
  if (issue.code !== 'invalid_union') return issue
  const branches = issue.errors.filter((branch) => branch.length > 0).map((branch) => firstIssue(branch))
  const deepest = branches.sort((a, b) => b.path.length - a.path.length)[0]
  return deepest && deepest.path.length > 0 ? { ...deepest, path: [...issue.path, ...deepest.path] } : issue
}

/** A key that opens nothing: unknown, revoked, expired, or of a tenant that is gone. */
export function incorrectApiKey(): ApiError {
  return new ApiError(401, 'invalid_api_key', 'Incorrect API key provided.')
}

/** Something that passes by itself. */
export function unavailable(code: string, message: string): ApiError {
  return new ApiError(503, code, message, { headers: { 'retry-after': '1' } })
}

/** The same answer whether a model never existed or belongs to somebody else. */
export function modelNotFound(model: string): ApiError {
  return new ApiError(404, 'model_not_found', `The model '${model}' does not exist or this key may not use it.`, {
    param: 'model',
  })
}

/** What `model` meant has been deleted while the request ran, or in another isolate a moment before. */
export function modelDeleted(): ApiError {
  return new ApiError(404, 'model_not_found', 'The model has been deleted.', { param: 'model' })
}

export function adapterNotFound(name: string): ApiError {
  return new ApiError(404, 'adapter_not_found', `The adapter '${name}' does not exist or this key may not use it.`)
}
