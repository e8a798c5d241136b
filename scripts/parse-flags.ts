// The command line of a script: what `parseArgs` refuses becomes one sentence and exit code 2.
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util'
import { CliError } from './cli-error.ts'

/** What `parseArgs` threw, as the command line ends with it; `help` is the command that shows the options. */
export function wrongOptions(error: unknown, help: string): CliError {
  const reason = error instanceof Error ? error.message.split('.')[0] : String(error)
  return new CliError(`${reason}; see ${help}.`, 2)
}

/** The options of a script that takes nothing else. Ends the process where they are wrong. */
export function parseFlags<const Options extends ParseArgsOptionsConfig>(options: Options) {
  try {
    return parseArgs({ options }).values
  } catch (error) {
    const { message, exitCode } = wrongOptions(error, '--help')
    process.stderr.write(`${message}\n`)
    process.exit(exitCode)
  }
}
