// Whether there is room for more sequences, running and waiting together. Pure.
import { BackendError } from '../errors.ts'

/** Sequences that are open, of all tenants and of the one that asks. */
interface Open {
  readonly all: number
  readonly own: number
}

interface Bounds {
  readonly sequences: number
  /** Beyond `sequences`, and up to as many again, who has no more than these is still let in: no tenant fills the queue for others. */
  readonly batch: number
}

/** @throws BackendError where `count` sequences more are too many now (`overloaded`) or always (`bad_request`) */
export function checkCapacity(open: Open, count: number, { sequences: limit, batch }: Bounds): void {
  if (count > limit) {
    throw new BackendError(
      'bad_request',
      `The request is for ${count} sequences at once, but this backend holds ${limit} in all: split it.`,
    )
  }
  if (open.all + count <= limit) return
  if (open.own + count <= batch && open.all + count <= 2 * limit) return
  throw new BackendError(
    'overloaded',
    `${open.all} sequences are running or waiting, which leaves no room for ${count} more beside your own ${open.own}: try again later.`,
  )
}
