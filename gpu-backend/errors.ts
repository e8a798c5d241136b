// The one error that gpu-backend/ throws for what a user or the edge can cause: a wire code and one sentence.
// Knows nothing of HTTP beyond the code's name; server.ts turns it into an answer, main.ts into an exit.
import type { ErrorCode } from './protocol.ts'

/** A refusal: `message` says what is wrong, where, and what to do. */
export class BackendError extends Error {
  override readonly name = 'BackendError'
  readonly code: ErrorCode
  /** The delta that is missing, with `adapter_missing`. */
  readonly digest: string | undefined

  constructor(code: ErrorCode, message: string, digest?: string) {
    super(message)
    this.code = code
    this.digest = digest
  }
}

/** The base model's files or the options cannot be used; the process ends with this sentence. */
export class StartupError extends Error {
  override readonly name = 'StartupError'
}
