// One `npm start` for each state folder: two would write the same databases.
// Method: a lock of the operating system's, through SQLite, which ends with the process however that ends.
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { CliError } from '../cli-error.ts'

/** Kept here: one that nobody refers to is closed by the garbage collector, and its lock with it. */
const held = new Set<DatabaseSync>()

/** Takes the folder, which must exist, until `release` or the end of this process. @throws CliError where another has it */
export function lockState(state: string): { release(): void } {
  const lock = new DatabaseSync(join(state, 'lock'))
  try {
    lock.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE')
  } catch (error) {
    lock.close()
    if (error instanceof Error && error.message.includes('locked')) {
      throw new CliError(`Another npm start is using ${state}: stop it, or give --state another folder.`)
    }
    throw error
  }
  held.add(lock)
  return {
    release() {
      held.delete(lock)
      lock.close()
    },
  }
}
