// A server that `npm start` runs as a child: its log file, the wait until it answers, and its end with all its children.
// Knows nothing of what it serves. Invariant: after `stop`, and after our own end however it comes, no process of its group
// is left.
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync, statSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { CliError } from '../cli-error.ts'

interface ServerCommand {
  /** For sentences: `The edge`. */
  readonly title: string
  readonly args: readonly string[]
  readonly cwd: string
  readonly env: NodeJS.ProcessEnv
  readonly logFile: string
  /** Longest time without a word in its log until it answers. */
  readonly startTimeoutMs: number
}

const POLL_MS = 50
const STOP_TIMEOUT_MS = 10_000
/** Ends the server $1 and its group once standard input is closed, as it is when we are killed and can end nothing. */
const WATCH = 'cat >/dev/null; kill -TERM "$1" && sleep 3; kill -KILL "-$1"'

export class ServerProcess {
  readonly title: string
  readonly logFile: string
  /** Settles when the process has ended. */
  readonly ended: Promise<void>
  readonly #child: ChildProcess
  readonly #startTimeoutMs: number
  #running = true

  constructor({ title, args, cwd, env, logFile, startTimeoutMs }: ServerCommand) {
    this.title = title
    this.#startTimeoutMs = startTimeoutMs
    this.logFile = logFile
    const log = openSync(logFile, 'w')
    // A group of its own: Ctrl-C reaches only us, so that we stop things in order and can reach grandchildren.
    this.#child = spawn(process.execPath, args, { cwd, env, stdio: ['ignore', log, log], detached: true })
    closeSync(log)
    const watch = watchOver(this.#child.pid)
    this.ended = new Promise((resolve) => {
      const end = () => {
        this.#running = false
        watch?.kill('SIGKILL')
        resolve()
      }
      this.#child.once('exit', end)
      this.#child.once('error', end)
    })
  }

  /**
   * Waits until `url` answers with 2xx; meanwhile `onStep` is told what the log says is being done.
   * @throws CliError where the process ends first, or neither answers nor says anything for too long
   */
  async untilReady(url: string, onStep: (step: string) => void = () => undefined): Promise<void> {
    let logBytes = 0
    let heardMs = performance.now()
    while (performance.now() < heardMs + this.#startTimeoutMs) {
      if (!this.#running) throw this.failure('could not start')
      const response = await fetch(url).catch(() => undefined)
      await response?.body?.cancel()
      if (response?.ok) return
      const { size } = statSync(this.logFile)
      if (size !== logBytes) {
        logBytes = size
        heardMs = performance.now()
        const step = lastStep(readFileSync(this.logFile, 'utf8'))
        if (step !== undefined) onStep(step)
      }
      await Promise.race([sleep(POLL_MS), this.ended])
    }
    throw new CliError(`${this.title} has said nothing for ${this.#startTimeoutMs / 1000} s: see ${this.logFile}.`)
  }

  /** What to tell of a process that ended by itself: its own last words, in one sentence. */
  failure(what: string): CliError {
    const words = lastWords(readFileSync(this.logFile, 'utf8'))
    return new CliError(`${this.title} ${what}: ${words ?? `see ${this.logFile}.`}`)
  }

  /** Asks the process to finish what it does, and ends it where it takes too long. */
  async stop(): Promise<void> {
    // Only the server itself: it ends its own children, and what it leaves goes with the group below.
    this.#child.kill('SIGTERM')
    const timeout = new AbortController()
    await Promise.race([
      this.ended,
      sleep(STOP_TIMEOUT_MS, undefined, { signal: timeout.signal }).catch(() => undefined),
    ])
    timeout.abort()
    this.kill()
  }

  /** Ends the process and its children at once. */
  kill(): void {
    const { pid } = this.#child
    if (pid === undefined) return
    try {
      process.kill(-pid, 'SIGKILL')
    } catch {
      // The group is gone already.
    }
  }
}

/** In a group of its own: what ends us must not end it first. */
function watchOver(pid: number | undefined): ChildProcess | undefined {
  if (pid === undefined) return undefined
  const watch = spawn('/bin/sh', ['-c', WATCH, 'watch', String(pid)], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  // Without a shell there is no watch; nothing else needs one.
  watch.on('error', () => undefined)
  watch.unref()
  return watch
}

/** The last line of a log that says something: a plain sentence, or the message of a JSON log line. */
function lastWords(log: string): string | undefined {
  for (const line of log.trimEnd().split('\n').reverse()) {
    const text = line.trim()
    if (!text) continue
    if (!text.startsWith('{')) return text
    try {
      const entry: Record<string, unknown> = JSON.parse(text)
      const message = entry.message ?? entry.msg ?? entry.error
      if (typeof message === 'string') return message
    } catch {
      return text
    }
  }
  return undefined
}

/** What a log of JSON lines says at last that is being done. */
function lastStep(log: string): string | undefined {
  return /"step":"([^"\\]+)"[^\n]*\n?$/.exec(log)?.[1]
}
