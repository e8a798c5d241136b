// A vLLM server of our own: started, kept alive, its log passed on, and gone when we are.
// Knows its command line and nothing of requests. Invariants: it listens on a socket that only this user reaches; its
// whole process group lives no longer than this process, however that ends; one that nobody has found well is not
// started again, since it would only fail in the same way for ever.
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { StartupError } from '../../errors.ts'
import { log } from '../../log.ts'
import { exitReason } from './exit-reason.ts'

export interface VllmProcessOptions {
  /** `vllm`, or the path of another one. */
  readonly command: string
  /** Everything after `vllm serve`, but where to listen. */
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  /** Called when the server has ended by itself. */
  readonly onExit: () => void
}

/**
 * Runs "$@" for as long as standard input is open: with it closed, by us or by our end, the server is asked to stop and
 * its process group killed when that takes too long.
 */
export const GUARD = `
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
{
  cat <&3 >/dev/null
  kill -TERM $server
  for _ in $(seq 50); do kill -0 $server || break; sleep 0.2; done
  kill -KILL 0
} 2>/dev/null &
exec 3<&-
wait $server
exit $?
`
const FIRST_BACKOFF_MS = 1_000
const MAX_BACKOFF_MS = 60_000
/** Running for so long, a server is taken to have been well: the next restart is quick again. */
const WELL_AFTER_MS = 300_000
/** Last lines of the log, which hold the tracebacks of all of its processes. */
const KEPT_LINES = 400
const LAST_WORDS_MS = 1_000
const LEVEL = /\b(DEBUG|INFO|WARNING|ERROR|CRITICAL)\b/

export class VllmProcess {
  readonly apiKey = randomBytes(32).toString('hex')
  readonly #dir = mkdtempSync(join(tmpdir(), 'polylora-vllm-'))
  readonly socketPath = join(this.#dir, 'vllm.sock')
  readonly #options: VllmProcessOptions
  readonly #closed = new AbortController()
  readonly #lastLines: string[] = []
  #child: ChildProcess | undefined
  #isKept = false
  /** This life of it. */
  #wasWell = false
  #ended: Promise<void> = Promise.resolve()

  constructor(options: VllmProcessOptions) {
    this.#options = options
  }

  /** Starts the server. Resolves when it has ended and is not started again. */
  run(): Promise<void> {
    this.#ended = this.#live()
    return this.#ended
  }

  /** The server has been found well: from now on, until `close`, it is started again whenever it ends. */
  foundWell(): void {
    this.#isKept = true
    this.#wasWell = true
  }

  /** Kills a server that was well and answers no more, so that it is started again; one that still starts is left alone. */
  hangs(): void {
    if (!this.#wasWell || this.#child?.pid === undefined) return
    log('error', 'vllm_hangs', {})
    killGroup(this.#child.pid)
  }

  /** Why the server has ended, as its last lines say. */
  get exitReason(): string {
    return exitReason(this.#lastLines)
  }

  /** Ends the server and everything that it started. */
  async close(): Promise<void> {
    this.#closed.abort()
    this.#child?.stdin?.end()
    await this.#ended
    rmSync(this.#dir, { recursive: true, force: true })
  }

  async #live(): Promise<void> {
    await this.#once()
    let backoffMs = FIRST_BACKOFF_MS
    while (this.#isKept && !this.#closed.signal.aborted) {
      log('warn', 'vllm_restart', { after_ms: backoffMs })
      await sleep(backoffMs, undefined, { signal: this.#closed.signal }).catch(() => {})
      if (this.#closed.signal.aborted) return
      const startedMs = Date.now()
      await this.#once()
      backoffMs = Date.now() - startedMs > WELL_AFTER_MS ? FIRST_BACKOFF_MS : Math.min(2 * backoffMs, MAX_BACKOFF_MS)
    }
  }

  /** One life of the server. */
  async #once(): Promise<void> {
    rmSync(this.socketPath, { force: true })
    this.#wasWell = false
    this.#lastLines.length = 0
    const args = ['serve', ...this.#options.args, '--uds', this.socketPath]
    // A group of its own, so that nothing of it outlives it.
    const child = spawn('/bin/sh', ['-c', GUARD, 'vllm-guard', this.#options.command, ...args], {
      detached: true,
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...withoutSecrets(process.env), ...this.#options.env, VLLM_API_KEY: this.apiKey },
    })
    this.#child = child
    child.stdin.on('error', () => {})
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => this.#tell(line))
    }
    const closed = new Promise((resolve) => child.once('close', resolve))
    const code = await new Promise<number | null>((resolve) => {
      child.once('error', () => resolve(null))
      child.once('exit', (code) => resolve(code))
    })
    if (child.pid !== undefined) killGroup(child.pid)
    // Its last words may still be on their way; a daemon that it left behind, as Ray does, would hold the pipes for ever.
    await Promise.race([closed, sleep(LAST_WORDS_MS, undefined, { ref: false })])
    this.#child = undefined
    if (this.#closed.signal.aborted) return
    log('error', 'vllm_exit', { code })
    this.#options.onExit()
  }

  #tell(line: string): void {
    const text = line.trim()
    if (text === '') return
    const level = LEVEL.exec(text)?.[1]
    const isError = level === 'ERROR' || level === 'CRITICAL'
    log(isError ? 'error' : level === 'WARNING' ? 'warn' : 'info', 'vllm', { line: text })
    this.#lastLines.push(line)
    if (this.#lastLines.length > KEPT_LINES) this.#lastLines.shift()
  }
}

/** @throws StartupError where there is no such command */
export function requireCommand(command: string, path: string | undefined): void {
  const places = command.includes('/') ? [command] : (path ?? '').split(':').map((dir) => join(dir, command))
  if (places.some((place) => existsSync(place))) return
  throw new StartupError(
    `There is no ${command} here: install vLLM, name it with --vllm-command, or connect to a server with --vllm-url.`,
  )
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // Everything in it has ended.
  }
}

/** The environment without what is between the edge and us. */
function withoutSecrets(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('POLYLORA_')))
}
