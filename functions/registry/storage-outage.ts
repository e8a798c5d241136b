// Object storage as the edge uses it: what it fails at is logged, and a 503 to the caller, since it passes by itself.
import { unavailable } from '../errors.ts'
import { DigestMismatch, type ObjectStore } from './objects.ts'

const MESSAGE = 'The storage of adapters cannot be reached at the moment: try again shortly.'

/** The same store; whatever it throws but DigestMismatch becomes ApiError 503 `storage_unavailable`. */
export function tellingOutages(store: ObjectStore): ObjectStore {
  return {
    put: telling('put', store.put),
    tryOpen: telling('get', store.tryOpen),
    delete: telling('delete', store.delete),
    putPart: telling('put', store.putPart),
    listParts: telling('list', store.listParts),
    tryOpenPart: telling('get', store.tryOpenPart),
    deleteParts: telling('delete', store.deleteParts),
  }
}

function telling<Args extends readonly unknown[], Result>(
  operation: string,
  call: (...args: Args) => Promise<Result>,
): (...args: Args) => Promise<Result> {
  return async (...args) => {
    try {
      return await call(...args)
    } catch (error) {
      if (error instanceof DigestMismatch) throw error
      console.error(JSON.stringify({ event: 'storage_failed', operation, reason: String(error) }))
      throw unavailable('storage_unavailable', MESSAGE)
    }
  }
}
