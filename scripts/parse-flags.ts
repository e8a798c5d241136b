// The command line of a script: what is wrong in it becomes one sentence and exit code 2, before anything is begun.
import { statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { type ParseArgsConfig, parseArgs } from 'node:util'
import { CliError } from './cli-error.ts'

/** Node's `parseArgs`. Throws CliError (exit code 2) that names `help`, the command that shows the options. */
export function parseOptions<const Config extends ParseArgsConfig>(
  config: Config,
  help: string,
): ReturnType<typeof parseArgs<Config>> {
  try {
    return parseArgs(config)
  } catch (error) {
    const reason = error instanceof Error ? error.message.split('.')[0] : String(error)
    throw new CliError(`${reason}; see ${help}.`, 2)
  }
}

/** An option with a value. */
export interface Flag<Value> {
  /** What it is where it is not given. */
  readonly standard: Value
  /** `name` is for the sentence of the CliError that it throws. */
  read(text: string, name: string): Value
}

export function text(): Flag<string | undefined>
export function text(standard: string): Flag<string>
export function text(standard?: string): Flag<string | undefined> {
  return { standard, read: (text) => text }
}

/** A file that is written at the end, when it would be too late to learn that it cannot be. */
export function outFile(): Flag<string | undefined> {
  return {
    standard: undefined,
    read(file, name) {
      requireFolderOf(file, name)
      return file
    },
  }
}

/** @throws CliError where `file`, which option `name` says is to be written, has no folder */
export function requireFolderOf(file: string, name: string): void {
  const folder = dirname(resolve(file))
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true) return
  throw new CliError(`--${name} ${file}: there is no folder ${folder}; make it first.`, 2)
}

export function wholeNumber(): Flag<number | undefined>
export function wholeNumber(standard: number, least?: number): Flag<number>
export function wholeNumber(standard?: number, least = 1): Flag<number | undefined> {
  return { standard, read: (text, name) => readWholeNumber(text, name, least) }
}

export function wholeNumbers(standard: readonly number[]): Flag<readonly number[]> {
  return { standard, read: (text, name) => text.split(',').map((part) => readWholeNumber(part, name, 1)) }
}

export function oneOf<const Name extends string>(names: readonly Name[]): Flag<Name | undefined>
export function oneOf<const Name extends string>(names: readonly Name[], standard: Name): Flag<Name>
export function oneOf<const Name extends string>(names: readonly Name[], standard?: Name): Flag<Name | undefined> {
  return { standard, read: (text, name) => readName(text, name, names) }
}

export function someOf<const Name extends string>(
  names: readonly Name[],
  standard: readonly Name[],
): Flag<readonly Name[]> {
  return { standard, read: (text, name) => text.split(',').map((part) => readName(part, name, names)) }
}

/** The options of a script that takes nothing else. Ends the process where they are wrong, or `--help` is among them. */
export function parseFlags<const Flags extends Readonly<Record<string, Flag<unknown>>>>(help: string, flags: Flags) {
  try {
    const values = readFlags(process.argv.slice(2), flags)
    if (values !== undefined) return values
    process.stdout.write(help)
    process.exit(0)
  } catch (error) {
    if (!(error instanceof CliError)) throw error
    process.stderr.write(`${error.message}\n`)
    process.exit(error.exitCode)
  }
}

/** Undefined where `--help` is given. Throws CliError. */
function readFlags<const Flags extends Readonly<Record<string, Flag<unknown>>>>(argv: readonly string[], flags: Flags) {
  const options: NonNullable<ParseArgsConfig['options']> = { help: { type: 'boolean', short: 'h' } }
  for (const name of Object.keys(flags)) options[name] = { type: 'string' }
  const { values } = parseOptions({ args: [...argv], options }, '--help')
  if (values.help) return undefined
  return Object.fromEntries(
    Object.entries(flags).map(([name, { standard, read }]) => {
      const value = values[name]
      return [name, typeof value === 'string' ? read(value, name) : standard]
    }),
  ) as { readonly [Name in keyof Flags]: Flags[Name]['standard'] }
}

/** @throws CliError where `text`, which option `name` has, is anything else than a whole number from `least` on */
export function readWholeNumber(text: string, name: string, least: number): number {
  const number = Number(text)
  if (/^\d+$/.test(text.trim()) && number >= least) return number
  throw new CliError(`--${name}: ${JSON.stringify(text)} is not a whole number from ${least} on.`, 2)
}

function readName<Name extends string>(text: string, name: string, names: readonly Name[]): Name {
  const found = names.find((candidate) => candidate === text.trim())
  if (found !== undefined) return found
  throw new CliError(`--${name}: there is no ${JSON.stringify(text)}; there is ${names.join(', ')}.`, 2)
}
