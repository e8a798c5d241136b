// A file that one process at a time may have. Knows nothing of what it stands for.
// Method: a lock of the operating system's, through SQLite, which ends with the process however that ends.
import { existsSync, rmSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { CliError } from './cli-error.ts'

export interface FileLock {
  /** Removes the file, too. */
  release(): void
}

/** Kept here: one that nobody refers to is closed by the garbage collector, and its lock with it. */
const held = new Set<DatabaseSync>()

/** Takes the file, which is made, until `release` or the end of this process. @throws CliError with `refusal` where another has it */
export function lockFile(path: string, refusal: string): FileLock {
  for (;;) {
    const lock = lockOnce(path, refusal)
    // Whoever had it before may have removed it after it was opened here: then it keeps nobody out.
    if (!existsSync(path)) {
      lock.close()
      continue
    }
    held.add(lock)
    return {
      release() {
        // Before others may have it, so that what is removed is never theirs.
        rmSync(path, { force: true })
        held.delete(lock)
        lock.close()
      },
    }
  }
}

function lockOnce(path: string, refusal: string): DatabaseSync {
  const lock = new DatabaseSync(path)
  try {
    lock.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE')
    return lock
  } catch (error) {
    lock.close()
    throw error instanceof Error && error.message.includes('locked') ? new CliError(refusal) : error
  }
}
