// The one error that adapters/ throws for anything a customer's file can cause: a code to act on and one sentence to show.
// Knows nothing of HTTP, exit codes or terminals. Invariant: `message` says what is wrong, where, and what to do.

/**
 * - `malformed`: damaged, truncated or hostile bytes
 * - `unsupported`: understood, but not something that a plain low-rank delta can express
 * - `missing`: something that the file does not hold must be given (an alpha, a file)
 * - `mismatch`: does not fit the base model
 * - `ineffective`: would change nothing
 * - `too_large`: beyond a limit
 */
export type AdapterErrorCode = 'malformed' | 'unsupported' | 'missing' | 'mismatch' | 'ineffective' | 'too_large'

/** A refusal of an adapter, in one sentence for its owner. */
export class AdapterError extends Error {
  override readonly name = 'AdapterError'
  readonly code: AdapterErrorCode

  constructor(code: AdapterErrorCode, message: string) {
    super(message)
    this.code = code
  }
}

const MAX_QUOTED_CHARS = 160

/** A name taken from a foreign file, quoted for a message: control characters escaped, length bounded. */
export function quote(name: string): string {
  return JSON.stringify(name.length > MAX_QUOTED_CHARS ? `${name.slice(0, MAX_QUOTED_CHARS)}…` : name)
}

const MAX_LISTED = 8

/** Names or numbers for a sentence: the first few, and how many more. */
export function listed(items: readonly (string | number)[]): string {
  const shown = items.slice(0, MAX_LISTED).map((item) => (typeof item === 'string' ? quote(item) : item))
  return `${shown.join(', ')}${items.length > MAX_LISTED ? ` and ${items.length - MAX_LISTED} more` : ''}`
}
