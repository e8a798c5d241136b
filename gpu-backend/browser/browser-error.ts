// The one error that this folder throws for what a user, the network or the edge can cause.

/**
 * - `network`: the edge cannot be reached or is failing, or a download broke off and did not go on
 * - `digest_mismatch`: what arrived is not what the manifest or the registry names
 * - `storage`: the browser gives no room for the download, or keeps nothing of this site
 * - `unsupported`: this browser lacks what was asked for
 * - `closed`: the model was closed while it was at work
 * - any other: the code of the edge's refusal (`adapter_may_not_leave`, `invalid_api_key`, ...) or of the engine's
 *   (`bad_request`, `context_length_exceeded`, `invalid_delta`, ...)
 */
export class BrowserError extends Error {
  override readonly name = 'BrowserError'
  readonly code: string

  /** `message` says what is wrong and what to do. */
  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}
