// One operation of the API, and the words to write one down with.
import type * as z from 'zod/mini'
import type { Scope } from '../auth/scope.ts'
import { UsageRows } from '../routes/account-answers.ts'

export interface Operation {
  readonly method: 'get' | 'post' | 'put' | 'patch' | 'delete'
  /** With parameters in braces. */
  readonly path: string
  /** The scope that the key needs; `admin`: the operator's key; null: any key. */
  readonly scope: Scope | 'admin' | null
  readonly summary: string
  /** JSON body. */
  readonly body?: z.ZodMiniType
  /** Query parameters. */
  readonly query?: z.ZodMiniObject
  /** Request headers that matter: name -> what it holds. */
  readonly headers?: Readonly<Record<string, string>>
  /** The body is a file of this content type. */
  readonly file?: string
  /** By HTTP status; a text alone: no body, or where it is a refusal OpenAI's error. */
  readonly answers: Readonly<Record<string, Answer | string>>
}

/** What a body holds: a schema of its JSON, or of one of its JSON values; `file`: bytes; `text`: lines. */
export type Content = z.ZodMiniType | 'file' | 'text'

export interface Answer {
  readonly text: string
  /** Content type -> what it holds. */
  readonly content: Readonly<Record<string, Content>>
}

const method =
  (name: Operation['method']) =>
  (
    path: string,
    scope: Operation['scope'],
    summary: string,
    rest: Omit<Operation, 'method' | 'path' | 'scope' | 'summary'>,
  ): Operation => ({ method: name, path, scope, summary, ...rest })

export const get = method('get')
export const post = method('post')
export const put = method('put')
export const patch = method('patch')
export const remove = method('delete')

export function json(text: string, schema: z.ZodMiniType): Answer {
  return { text, content: { 'application/json': schema } }
}

/** Whole, or server-sent events that hold one `chunk` each. */
export function streamed(text: string, whole: z.ZodMiniType, chunk: z.ZodMiniType): Answer {
  return { text, content: { 'application/json': whole, 'text/event-stream': chunk } }
}

export function binary(text: string): Answer {
  return { text, content: { 'application/octet-stream': 'file' } }
}

/** Usage, as `format` says. */
export function rows(text: string): Answer {
  return { text, content: { 'application/json': UsageRows, 'application/jsonl': 'text', 'text/csv': 'text' } }
}
