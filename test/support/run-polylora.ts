// Runs one command line in this process: what it wrote and its exit code.
import { polylora } from '../../scripts/polylora.ts'

export interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
}

export function runPolylora(...argv: string[]): Promise<Ran> {
  return run(argv, false)
}

/** As where standard error is a terminal. */
export function runOnTerminal(...argv: string[]): Promise<Ran> {
  return run(argv, true)
}

async function run(argv: readonly string[], isTTY: boolean): Promise<Ran> {
  let [out, err] = ['', '']
  const write = (add: (text: string) => void) => ({ isTTY, write: (text: string) => add(text) })
  const terminal = { stdout: write((text) => (out += text)), stderr: write((text) => (err += text)), env: {} }
  const code = await polylora(argv, terminal)
  return { code, out, err }
}
