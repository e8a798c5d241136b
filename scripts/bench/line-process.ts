// A process that answers one line of JSON with another, after a first line that says it is ready.
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { createInterface, type Interface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { CliError } from '../cli-error.ts'
import { endProcess } from './end-process.ts'

export class LineProcess {
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>
  readonly #lines: AsyncIterator<string>

  private constructor(child: ChildProcessByStdio<Writable, Readable, Readable>, lines: Interface) {
    this.#child = child
    this.#lines = lines[Symbol.asyncIterator]()
  }

  /** Starts it and waits until it is ready; rejects with its last words when it ends before. */
  static async start(command: string, args: readonly string[], env: Record<string, string> = {}): Promise<LineProcess> {
    const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe'] })
    let last = 'it said nothing'
    createInterface({ input: child.stderr }).on('line', (line) => {
      if (line.trim() !== '') last = line
    })
    const started = new LineProcess(child, createInterface({ input: child.stdout }))
    await Promise.race([
      started.#next(),
      new Promise((_, reject) => {
        child.once('error', (error) => reject(new CliError(`${command} cannot be run: ${error.message}`)))
        child.once('exit', () => reject(new CliError(`${command} ${args[0]} ended: ${last}`)))
      }),
    ])
    return started
  }

  async ask(question: unknown): Promise<unknown> {
    this.#child.stdin.write(`${JSON.stringify(question)}\n`)
    return this.#next()
  }

  stop(): Promise<void> {
    return endProcess(this.#child)
  }

  /** The next line that is JSON: libraries print their own lines between. */
  async #next(): Promise<unknown> {
    for (;;) {
      const { value, done } = await this.#lines.next()
      if (done) throw new Error('A process of the benchmark ended before it answered.')
      if (value.startsWith('{')) return JSON.parse(value)
    }
  }
}
