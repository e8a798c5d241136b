// A folder for what must not outlast this process. Knows nothing of what lies in it.
import { mkdtempSync, rmSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'

/** What ends a process that does not listen for it. */
export const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** A tenth of a second apart, and each a tenth further. */
const REMOVALS = 5

export interface PassingFolder {
  readonly path: string
  /** Removes it with all that lies in it. */
  release(): Promise<void>
}

/** A new folder in `parent`; a signal that ends this process removes it as well. Throws the system's error where there can be none. */
export function passingFolder(parent: string): PassingFolder {
  let path = ''
  const interrupted = (signal: NodeJS.Signals) => {
    // Again where a process that has just been ended still put something there.
    rmSync(path, { recursive: true, force: true, maxRetries: REMOVALS })
    // Whoever else listens for it, as npm start does, ends the process in its own way: to send it again would be a second Ctrl-C.
    if (process.listenerCount(signal) === 0) process.kill(process.pid, signal)
  }
  // Listened for before there is a folder, which is made at once: no signal comes between the two.
  for (const signal of SIGNALS) process.once(signal, interrupted)
  path = mkdtempSync(join(parent, '.polylora-'))
  const release = async () => {
    for (const signal of SIGNALS) process.off(signal, interrupted)
    await rm(path, { recursive: true, force: true })
  }
  return { path, release }
}
