// What a command of `polylora` is: its options with their help, and what it does with them.
// Knows no command. Invariant: help is written from the same table that the arguments are parsed with.
import { parseArgs } from 'node:util'
import { Name } from '../functions/registry/names.ts'
import { CliError } from './cli-error.ts'
import type { EdgeAddress } from './edge-client.ts'
import { readWholeNumber, wrongOptions } from './parse-flags.ts'

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

/** The options of every command that talks to an edge. */
export const EDGE_OPTIONS: Readonly<Record<string, Option>> = {
  edge: { type: 'string', value: 'URL', help: 'the edge (default $POLYLORA_EDGE or http://127.0.0.1:8787)' },
  'api-key': { type: 'string', value: 'KEY', help: 'your API key (default $POLYLORA_API_KEY)' },
}

/** The options of the operator's commands. */
export const ADMIN_OPTIONS: Readonly<Record<string, Option>> = {
  'admin-key': { type: 'string', value: 'KEY', help: "the operator's key (default $POLYLORA_ADMIN_KEY)" },
  edge: EDGE_OPTIONS.edge!,
}

/** The options that give a format what its files lack. */
export const FACT_OPTIONS: Readonly<Record<string, Option>> = {
  alpha: { type: 'string', value: 'N', help: 'loralib: lora_alpha, which its files do not hold' },
  'enable-lora': { type: 'string', value: 'LIST', help: "loralib's MergedLinear: such as true,false,true" },
  scaling: { type: 'string', value: 'X', help: 'mistral-finetune, MLX: the factor, where its params file is missing' },
  'no-chat-template': {
    type: 'boolean',
    help: "keep the base model's chat template, whatever lies beside the adapter",
  },
  'shrink-rank': { type: 'string', value: 'R', help: 'approximate ranks above R by R; the report says what it costs' },
  dtype: {
    type: 'string',
    value: 'f16|f32',
    help: 'type of the stored values (default f32; of a delta of ours its own)',
  },
}

/** Parses a command's arguments. Throws CliError (exit code 2). */
export function parseCommand(name: string, command: Command, argv: readonly string[]): Arguments {
  const options = { ...command.options, ...EVERYWHERE }
  const { values, positionals } = parse(name, argv, options)
  if (command.operands === '' && positionals.length > 0) {
    throw new CliError(`${name} takes no ${JSON.stringify(positionals[0])}; see polylora ${name} --help.`, 2)
  }
  const text = (option: string) => {
    const value = values.get(option)
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
    flag: (option) => values.get(option) === true,
  }
}

function parse(name: string, argv: readonly string[], options: Readonly<Record<string, Option>>) {
  try {
    const { values, positionals } = parseArgs({ args: [...argv], options, allowPositionals: true })
    return { values: new Map<string, unknown>(Object.entries(values)), positionals }
  } catch (error) {
    throw wrongOptions(error, `polylora ${name} --help`)
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

/** The edge that the options or the environment name. Throws CliError when there is no key. */
export function edgeAddress(args: Arguments, terminal: Terminal): EdgeAddress {
  const apiKey = args.text('api-key') ?? terminal.env.POLYLORA_API_KEY
  if (!apiKey)
    throw new CliError('No API key: give --api-key or set POLYLORA_API_KEY (npm start uses dev-<tenant>).', 2)
  return edgeWith(apiKey, args, terminal)
}

/** The edge and the operator's key that the options or the environment name. Throws CliError when there is no key. */
export function adminAddress(args: Arguments, terminal: Terminal): EdgeAddress {
  const apiKey = args.text('admin-key') ?? terminal.env.POLYLORA_ADMIN_KEY
  if (!apiKey) throw new CliError('No admin key: give --admin-key or set POLYLORA_ADMIN_KEY.', 2)
  return edgeWith(apiKey, args, terminal)
}

function edgeWith(apiKey: string, args: Arguments, terminal: Terminal): EdgeAddress {
  if (!/^[\x21-\x7e]+$/.test(apiKey))
    throw new CliError('The key has a character that no key has; copy the whole key, which is shown once.', 2)
  return { url: args.text('edge') ?? terminal.env.POLYLORA_EDGE ?? 'http://127.0.0.1:8787', apiKey }
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
