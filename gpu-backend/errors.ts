// The one error that gpu-backend/ throws for what a user or the edge can cause: a wire code and one sentence.
// Knows nothing of HTTP beyond the code's name; server.ts turns it into an answer, main.ts into an exit.
import type { ErrorCode } from './protocol.ts'

interface ErrorDetails {
  readonly digest?: string | undefined
  readonly param?: string | undefined
}

/** A refusal: `message` says what is wrong, where, and what to do. */
export class BackendError extends Error {
  override readonly name = 'BackendError'
  readonly code: ErrorCode
  /** The delta that is missing, with `adapter_missing`. */
  readonly digest: string | undefined
  /** The sampling parameter at fault, as OpenAI names it. */
  readonly param: string | undefined

  constructor(code: ErrorCode, message: string, { digest, param }: ErrorDetails = {}) {
    super(message)
    this.code = code
    this.digest = digest
    this.param = param
  }
}

/** The base model's files or the options cannot be used; the process ends with this sentence. */
export class StartupError extends Error {
  override readonly name = 'StartupError'
}
