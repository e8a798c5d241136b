// A disk that is full before its tier is (something else lies there too, or the tier was given more than there is), or fails.
// Knows nothing of what a tier holds. Invariant: a delta is refused for want of room only where none can be made.
import { BackendError } from '../errors.ts'
import { log } from '../log.ts'

/** Whether it says that the disk, or the share of it that this user may fill, is full. */
export function isDiskFull(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT')
}

/** The refusal where no more files can be opened, which says nothing of the one that was to be; undefined for any other error. */
export function tooManyOpen(error: unknown): BackendError | undefined {
  const isThat = error instanceof Error && 'code' in error && (error.code === 'EMFILE' || error.code === 'ENFILE')
  if (!isThat) return undefined
  return new BackendError('unavailable', 'Too many files are open here to read another delta: use another backend.')
}

/**
 * What `write` gives, into `dir`. Each time that the disk is full `makeRoom` drops something, and says whether there was anything.
 * @throws BackendError `unavailable` where there was not, or the disk fails otherwise: another backend has one of its own
 */
export async function writeWithRoom<T>(
  dir: string,
  write: () => Promise<T>,
  makeRoom: () => Promise<boolean>,
): Promise<T> {
  for (;;) {
    try {
      return await write()
    } catch (error) {
      if (!isDiskFull(error)) {
        if (!isSystemError(error)) throw error
        log('error', 'disk_failed', { dir, reason: error.message })
        throw new BackendError('unavailable', 'The disk for deltas cannot be written: use another backend.')
      }
      const hadSomething = await makeRoom()
      log(hadSomething ? 'warn' : 'error', 'disk_full', { dir })
      if (!hadSomething) throw new BackendError('unavailable', 'The disk for deltas is full: use another backend.')
    }
  }
}

/** The operating system's own, as where a disk has become read-only or no file can be opened any more. */
function isSystemError(error: unknown): error is Error {
  return error instanceof Error && 'code' in error && /^E[A-Z0-9]+$/.test(String(error.code))
}
