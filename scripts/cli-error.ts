// A failure that the command line ends with: one sentence and an exit code. Knows nothing of what failed.

/** 1: refused or failed; 2: the command line itself is wrong; 3: a server could not be reached. */
export type ExitCode = 1 | 2 | 3

export class CliError extends Error {
  override readonly name = 'CliError'
  readonly exitCode: ExitCode

  constructor(message: string, exitCode: ExitCode = 1) {
    super(message)
    this.exitCode = exitCode
  }
}
