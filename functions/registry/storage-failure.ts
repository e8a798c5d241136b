// Tells what a store itself has failed at from everything else that can go wrong: callers may try that again.
// Invariant: beside `DigestMismatch`, which is the caller's, a store fails with `StorageFailed` alone.
import { type ApiError, unavailable } from '../errors.ts'
import { tryWithin } from '../try-within.ts'
import { DigestMismatch, type ObjectStore, STORE_PATIENCE_MS } from './objects.ts'

/** The store cannot be reached, does not take something or breaks off; the message is its own, for the log. */
export class StorageFailed extends Error {
  override readonly name = 'StorageFailed'
}

/** `store`, whose failures are told apart. */
export function withNamedFailures(store: ObjectStore): ObjectStore {
  return {
    put: (...call) => named(store.put(...call)),
    tryOpen: (...call) => named(soon(store.tryOpen(...call))),
    tryGetBytes: (...call) => named(soon(store.tryGetBytes(...call))),
    delete: (...call) => named(store.delete(...call)),
    putPart: (...call) => named(store.putPart(...call)),
    listParts: (...call) => named(store.listParts(...call)),
    tryOpenPart: (...call) => named(soon(store.tryOpenPart(...call))),
    deleteParts: (...call) => named(store.deleteParts(...call)),
  }
}

export function storageUnavailable(): ApiError {
  return unavailable('storage_unavailable', 'The object storage cannot be reached at the moment: try again shortly.')
}

/** @throws Error where it takes too long */
async function soon<T>(opening: Promise<T>): Promise<T> {
  // A file that is not there is undefined, too.
  const wrapped = opening.then((value) => ({ value }))
  const begun = await tryWithin(wrapped, STORE_PATIENCE_MS)
  if (!begun) throw new Error('the store does not begin')
  return begun.value
}

async function named<T>(call: Promise<T>): Promise<T> {
  try {
    return await call
  } catch (error) {
    throw error instanceof DigestMismatch ? error : new StorageFailed(String(error))
  }
}
