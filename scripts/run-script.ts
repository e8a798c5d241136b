// Runs a script's work: what a user can cause ends it with one sentence and an exit code, anything else with its stack.
import { StartupError } from '../gpu-backend/errors.ts'
import { CliError, type ExitCode } from './cli-error.ts'

export async function runScript(main: () => Promise<void>): Promise<void> {
  try {
    await main()
  } catch (error) {
    const failure = knownFailure(error)
    if (failure === undefined) throw error
    process.stderr.write(`${failure.message}\n`)
    process.exit(failure.exitCode)
  }
}

/** What a user can cause; undefined for anything else. */
export function knownFailure(error: unknown): { readonly message: string; readonly exitCode: ExitCode } | undefined {
  if (error instanceof CliError) return error
  if (error instanceof StartupError || isSystemError(error)) return { message: error.message, exitCode: 1 }
  return undefined
}

/** A full disk, a missing permission: the system's own words name the path. */
function isSystemError(error: unknown): error is Error {
  return error instanceof Error && 'syscall' in error
}
