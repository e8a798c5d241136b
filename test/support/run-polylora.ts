// Runs one command line in this process: what it wrote and its exit code.
import type { Terminal } from '../../scripts/command.ts'
import { polylora } from '../../scripts/polylora.ts'

export interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
}

export function runPolylora(...argv: string[]): Promise<Ran> {
  return run(argv, {})
}

/** With these variables of the environment. */
export function runWithEnv(env: Terminal['env'], ...argv: string[]): Promise<Ran> {
  return run(argv, { env })
}

/** As where standard error is a terminal. */
export function runOnTerminal(...argv: string[]): Promise<Ran> {
  return run(argv, { isTTY: true })
}

async function run(
  argv: readonly string[],
  { isTTY = false, env = {} }: { readonly isTTY?: boolean; readonly env?: Terminal['env'] },
): Promise<Ran> {
  let [out, err] = ['', '']
  const stdout = { write: (text: string) => (out += text) }
  const stderr = { isTTY, write: (text: string) => (err += text) }
  const code = await polylora(argv, { stdout, stderr, env })
  return { code, out, err }
}
