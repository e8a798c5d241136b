// Tells what a store itself has failed at from everything else that can go wrong: callers may try that again.
// Invariant: beside `DigestMismatch`, which is the caller's, a store fails with `StorageFailed` alone.
import { type ApiError, unavailable } from '../errors.ts'
import { DigestMismatch, type ObjectStore } from './objects.ts'

/** So long a store may take to begin with a file, for which a customer waits: R2 by itself may take for ever. */
const SOON_MS = 10_000

/** The store cannot be reached, does not take something or breaks off; the message is its own, for the log. */
export class StorageFailed extends Error {
  override readonly name = 'StorageFailed'
}

/** `store`, whose failures are told apart. */
export function withNamedFailures(store: ObjectStore): ObjectStore {
  return {
    put: (...call) => named(store.put(...call)),
    tryOpen: (...call) => named(soon(store.tryOpen(...call))),
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
function soon<T>(opening: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('the store does not begin')), SOON_MS)
    opening.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}

async function named<T>(call: Promise<T>): Promise<T> {
  try {
    return await call
  } catch (error) {
    throw error instanceof DigestMismatch ? error : new StorageFailed(String(error))
  }
}
