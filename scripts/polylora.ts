#!/usr/bin/env node
// The command line: finds the command, runs it, and turns any failure into one sentence and an exit code.
// Knows no command's work. Invariant: a user never sees a stack trace for something that a user can cause.
import { AdapterError } from '../adapters/errors.ts'
import { ProbeFailure } from '../functions/client/probe.ts'
import { UnfinishedPublish } from '../functions/client/publish-adapter.ts'
import { callersFolder } from './callers-folder.ts'
import { CliError, type ExitCode } from './cli-error.ts'
import { type Command, commandHelp, parseCommand, type Terminal } from './command.ts'
import { alias } from './commands/alias.ts'
import { browser } from './commands/browser.ts'
import { canary } from './commands/canary.ts'
import { chat } from './commands/chat.ts'
import { convert } from './commands/convert.ts'
import { inspect } from './commands/inspect.ts'
import { keys } from './commands/keys.ts'
import { list } from './commands/list.ts'
import { publish } from './commands/publish.ts'
import { pull } from './commands/pull.ts'
import { remove } from './commands/remove.ts'
import { rollback } from './commands/rollback.ts'
import { show } from './commands/show.ts'
import { usage } from './commands/usage.ts'
import { isBrokenConnection } from './edge-client.ts'
import { followProxy } from './follow-proxy.ts'
import { knownFailure, runScript } from './run-script.ts'

const COMMANDS: Readonly<Record<string, Command>> = {
  publish,
  list,
  show,
  chat,
  inspect,
  convert,
  pull,
  alias,
  rollback,
  canary,
  remove,
  usage,
  keys,
  browser,
}

const EXIT_CODES =
  'Exit codes: 0 done, 1 refused or failed, 2 wrong command line, 3 a server cannot be reached or is failing.'

/** Runs one command line and returns its exit code. */
export async function polylora(argv: readonly string[], terminal: Terminal): Promise<number> {
  // `polylora help publish` is `polylora publish --help`.
  const [name, ...rest] = argv[0] === 'help' && argv[1] !== undefined ? [argv[1], '--help'] : argv
  if (name === undefined || name === 'help' || name === '--help' || name === '-h') {
    terminal.stdout.write(overview())
    return name === undefined ? 2 : 0
  }
  try {
    const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
    if (command === undefined)
      throw new CliError(`There is no command ${JSON.stringify(name)}; see polylora --help.`, 2)
    const args = parseCommand(name, command, rest)
    if (args.flag('help')) terminal.stdout.write(commandHelp(name, command))
    else await command.run(args, terminal)
    return 0
  } catch (error) {
    return fail(error, rest.includes('--json'), terminal)
  }
}

function fail(error: unknown, json: boolean, terminal: Terminal): number {
  const { code, message, exitCode } = describeFailure(error)
  if (json) terminal.stdout.write(`${JSON.stringify({ error: { code, message } })}\n`)
  else terminal.stderr.write(`polylora: ${message}\n`)
  if (code === 'internal' && terminal.env.POLYLORA_DEBUG)
    terminal.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`)
  return exitCode
}

function describeFailure(error: unknown): { code: string; message: string; exitCode: ExitCode } {
  if (error instanceof AdapterError) return { code: error.code, message: error.message, exitCode: 1 }
  if (error instanceof ProbeFailure) return { code: 'failed', message: error.message, exitCode: 1 }
  if (error instanceof UnfinishedPublish) return { ...describeFailure(error.cause), message: error.message }
  const known = knownFailure(error)
  if (known) return { code: 'failed', message: known.message, exitCode: known.exitCode }
  if (isBrokenConnection(error)) {
    return { code: 'failed', message: 'The connection broke off in the middle of an answer; try again.', exitCode: 3 }
  }
  const message = error instanceof Error ? error.message : String(error)
  const sentence = `Something is wrong in polylora itself (${message}); please report what it prints with POLYLORA_DEBUG=1.`
  return { code: 'internal', message: sentence, exitCode: 1 }
}

function overview(): string {
  const width = Math.max(...Object.keys(COMMANDS).map((name) => name.length))
  const lines = Object.entries(COMMANDS).map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`)
  return [
    'polylora <command> [options]',
    '',
    ...lines,
    '',
    'polylora <command> --help shows its options.',
    EXIT_CODES,
    '',
  ].join('\n')
}

if (import.meta.main) {
  await runScript(async () => {
    process.chdir(callersFolder('polylora', process.env))
    followProxy(process.env)
    process.exitCode = await polylora(process.argv.slice(2), process)
  })
}
