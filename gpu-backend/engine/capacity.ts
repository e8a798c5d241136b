// Whether there is room for more sequences, running and waiting together. Pure.
import { BackendError } from '../errors.ts'

/** @throws BackendError where `count` sequences more are too many now (`overloaded`) or always (`bad_request`) */
export function checkCapacity(open: number, count: number, limit: number): void {
  if (count > limit) {
    throw new BackendError(
      'bad_request',
      `The request is for ${count} sequences at once, but this backend holds ${limit} in all: split it.`,
    )
  }
  if (open + count <= limit) return
  throw new BackendError(
    'overloaded',
    `${open} of at most ${limit} sequences are running or waiting, which leaves no room for ${count} more: try again later.`,
  )
}
