// What a command of `polylora` is: its options with their help, and what it does with them.
// Knows no command. Invariant: help is written from the same table that the arguments are parsed with.
import { Name } from '../functions/registry/names.ts'
import { CliError } from './cli-error.ts'
import { parseOptions, readWholeNumber } from './parse-flags.ts'

export interface Option {
  readonly type: 'string' | 'boolean'
  readonly short?: string
  /** Shown after the option's name, such as `URL`. */
  readonly value?: string
  readonly help: string
}

export interface Arguments {
  readonly positionals: readonly string[]
  /** A string option's value. */
  text(name: string): string | undefined
  /** As `text`, but must be there. */
  required(name: string): string
  /** Throws CliError when it isn't a number above 0. */
  number(name: string): number | undefined
  /** Throws CliError when it isn't a whole number from `least` on. */
  wholeNumber(name: string, least: number): number | undefined
  flag(name: string): boolean
}

/** Where a command writes; tests give their own. */
export interface Terminal {
  readonly stdout: { write(text: string): unknown }
  readonly stderr: { write(text: string): unknown; readonly isTTY: boolean }
  readonly env: Readonly<Record<string, string | undefined>>
}

export interface Command {
  readonly summary: string
  /** Positional arguments, such as `<dir|file>`. */
  readonly operands: string
  readonly options: Readonly<Record<string, Option>>
  /** Further lines of help. */
  readonly notes?: readonly string[]
  run(args: Arguments, terminal: Terminal): Promise<void>
}

const EVERYWHERE: Readonly<Record<string, Option>> = {
  json: { type: 'boolean', help: 'write one JSON value on standard output' },
  help: { type: 'boolean', short: 'h', help: 'show this help' },
}

/** Parses a command's arguments. Throws CliError (exit code 2). */
export function parseCommand(name: string, command: Command, argv: readonly string[]): Arguments {
  const options = { ...command.options, ...EVERYWHERE }
  const parsed = { args: [...argv], options, allowPositionals: true }
  const { values, positionals } = parseOptions(parsed, `polylora ${name} --help`)
  if (command.operands === '' && positionals.length > 0) {
    throw new CliError(`${name} takes no ${JSON.stringify(positionals[0])}; see polylora ${name} --help.`, 2)
  }
  const text = (option: string) => {
    const value = values[option]
    return typeof value === 'string' ? value : undefined
  }
  return {
    positionals,
    text,
    required(option) {
      const value = text(option)
      if (value === undefined)
        throw new CliError(`${name} needs --${option} ${options[option]?.value ?? ''}; see polylora ${name} --help.`, 2)
      return value
    },
    number(option) {
      const value = text(option)
      if (value === undefined) return undefined
      const number = Number(value)
      if (!Number.isFinite(number) || number <= 0)
        throw new CliError(`--${option} ${value} is not a positive number.`, 2)
      return number
    },
    wholeNumber(option, least) {
      const value = text(option)
      return value === undefined ? undefined : readWholeNumber(value, option, least)
    },
    flag: (option) => values[option] === true,
  }
}

/** What a command has found or done: `value` with --json, else the text. */
export function print(args: Arguments, { stdout }: Terminal, value: unknown, text: string): void {
  stdout.write(`${args.flag('json') ? JSON.stringify(value) : text}\n`)
}

/** The help of one command. */
export function commandHelp(name: string, command: Command): string {
  const options = Object.entries({ ...command.options, ...EVERYWHERE })
  const left = options.map(([option, { value }]) => `--${option}${value === undefined ? '' : ` ${value}`}`)
  const width = Math.max(...left.map((text) => text.length))
  return [
    `polylora ${name} ${command.operands}`.trimEnd(),
    '',
    command.summary,
    '',
    ...options.map(([, { help }], i) => `  ${left[i]!.padEnd(width)}  ${help}`),
    ...(command.notes === undefined ? [] : ['', ...command.notes]),
    '',
  ].join('\n')
}

/** Exactly one positional argument. Throws CliError. */
export function onlyOperand(args: Arguments, what: string): string {
  const [operand, ...rest] = args.positionals
  if (operand === undefined || rest.length > 0) throw new CliError(`Give exactly one ${what}; see --help.`, 2)
  return operand
}

/** `tenant/name` in two. Throws CliError. */
export function splitModel(model: string): { tenant: string; name: string } {
  const [tenant, name, ...rest] = model.split('/')
  if (!tenant || !name || rest.length > 0)
    throw new CliError(`${JSON.stringify(model)} is not of the form tenant/name.`, 2)
  if (!Name.safeParse(tenant).success || !Name.safeParse(name).success) {
    throw new CliError(`${JSON.stringify(model)} is no name: use a-z, 0-9, dot, dash and underscore, 64 each.`, 2)
  }
  return { tenant, name }
}
