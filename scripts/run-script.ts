// Runs a script's work: what a user can cause ends it with one sentence and an exit code, anything else with its stack.
import { StartupError } from '../gpu-backend/errors.ts'
import { CliError } from './cli-error.ts'

export async function runScript(main: () => Promise<void>): Promise<void> {
  try {
    await main()
  } catch (error) {
    if (!(error instanceof CliError || error instanceof StartupError || isSystemError(error))) throw error
    process.stderr.write(`${error.message}\n`)
    process.exit(error instanceof CliError ? error.exitCode : 1)
  }
}

/** A full disk, a missing permission: the system's own words name the path. */
export function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error
}
