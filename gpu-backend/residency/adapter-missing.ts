// The refusal of a request whose delta is not here. Knows nothing of where deltas are kept.
import { BackendError } from '../errors.ts'

/** What asks for a delta: the edge sends it and repeats the request. */
export function adapterMissing(digest: string): BackendError {
  return new BackendError(
    'adapter_missing',
    `The delta ${digest} is not on this backend: send it to PUT /v1/adapters/${digest}.`,
    { digest },
  )
}
