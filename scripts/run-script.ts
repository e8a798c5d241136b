// Runs a script's work: what a user can cause ends it with one sentence and an exit code, anything else with its stack.
import { StartupError } from '../gpu-backend/errors.ts'
import { CliError, type ExitCode } from './cli-error.ts'

export async function runScript(main: () => Promise<void>): Promise<void> {
  process.stdout.on('error', endUnread)
  try {
    await main()
  } catch (error) {
    const failure = knownFailure(error)
    if (failure === undefined) throw error
    process.stderr.write(`${failure.message}\n`)
    process.exit(failure.exitCode)
  }
}

/** Ends a script whose output cannot be written; in silence where its reader has stopped reading, as `head` does. */
function endUnread(error: NodeJS.ErrnoException): never {
  if (error.code === 'EPIPE') process.exit(0)
  process.stderr.write(`The output could not be written (${error.message}); send it elsewhere and run it again.\n`)
  process.exit(1)
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
