// One `npm start` for each state folder: two would write the same databases.
import { join } from 'node:path'
import { type FileLock, lockFile } from '../file-lock.ts'

/** Takes the folder, which must exist, until `release` or the end of this process. @throws CliError where another has it */
export function lockState(state: string): FileLock {
  return lockFile(join(state, 'lock'), `Another npm start is using ${state}: stop it, or give --state another folder.`)
}
