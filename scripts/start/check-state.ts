// Whether the databases that an earlier start left behind can be read, asked before anything opens them.
// Knows nothing of what is in them.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { CliError } from '../cli-error.ts'

/** @throws CliError naming the first database below `state`, which must exist, that is damaged */
export function checkState(state: string): void {
  for (const entry of readdirSync(state, { recursive: true, encoding: 'utf8' })) {
    if (!entry.endsWith('.sqlite')) continue
    const complaint = damage(join(state, entry))
    if (complaint) {
      throw new CliError(`The local state is damaged (${entry}: ${complaint}): delete ${state} and start again.`)
    }
  }
}

function damage(file: string): string | undefined {
  try {
    const database = new DatabaseSync(file)
    try {
      const verdict = database.prepare('PRAGMA quick_check(1)').get()?.quick_check
      return verdict === 'ok' ? undefined : String(verdict).split('\n')[0]
    } finally {
      database.close()
    }
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}
