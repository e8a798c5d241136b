// `npm start` as a child of a test: free ports, its own state folder, its output, and its end.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { freePort } from './free-port.ts'

const SCRIPT = fileURLToPath(new URL('../../scripts/start.ts', import.meta.url))

export interface StartedProduct {
  readonly url: string
  readonly backendUrl: string
  /** Everything written so far. */
  output(): string
  /** Reads nothing more of what it writes to its standard output, as `head` does. */
  stopReading(): void
  /** Ctrl-C; resolves to the exit code. */
  stop(): Promise<number | null>
}

/** Starts the product and waits until it says that it serves. Throws with its output where it ends before. */
export async function startProduct(state: string, extra: readonly string[] = []): Promise<StartedProduct> {
  const [port, backendPort] = [await freePort(), await freePort()]
  const ports = ['--port', String(port), '--backend-port', String(backendPort)]
  const { child, output } = run([...ports, '--state', state, ...extra])
  const ended = once(child, 'exit')
  await new Promise<void>((resolve, reject) => {
    child.stdout?.on('data', () => {
      if (/^curl /m.test(output())) resolve()
    })
    ended.then(([code]) => reject(new Error(`npm start ended with ${code}:\n${output()}`)))
  })
  return {
    url: `http://127.0.0.1:${port}`,
    backendUrl: `http://127.0.0.1:${backendPort}`,
    output,
    stopReading: () => void child.stdout?.destroy(),
    async stop() {
      child.kill('SIGINT')
      const [code] = await ended
      return code
    },
  }
}

/** Starts the product as npm does, below a shell, and kills that shell; resolves once both servers are gone. */
export async function killParentOfProduct(state: string): Promise<void> {
  const [port, backendPort] = [await freePort(), await freePort()]
  const command = `"${process.execPath}" "${SCRIPT}" --no-demo --port ${port} --backend-port ${backendPort} --state "${state}"`
  const env = { ...process.env, npm_lifecycle_event: 'start' }
  // The second command keeps the shell from becoming the first.
  const shell = spawn('sh', ['-c', `${command}; true`], { stdio: ['ignore', 'pipe', 'inherit'], env })
  let output = ''
  await new Promise<void>((resolve) => {
    shell.stdout.on('data', (piece: Buffer) => {
      output += piece.toString()
      if (/^curl /m.test(output)) resolve()
    })
  })
  shell.kill('SIGKILL')
  for (const url of [`http://127.0.0.1:${port}/healthz`, `http://127.0.0.1:${backendPort}/healthz`]) {
    while (await fetch(url).then(drained, () => false)) await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

async function drained(response: Response): Promise<true> {
  await response.body?.cancel()
  return true
}

/** Runs a start that is expected to fail. */
export async function failToStart(args: readonly string[]): Promise<{ code: number | null; stderr: string }> {
  const { child, stderr } = run(args)
  const [code] = await once(child, 'exit')
  return { code, stderr: stderr() }
}

function run(args: readonly string[]): { child: ChildProcess; output: () => string; stderr: () => string } {
  const child = spawn(process.execPath, [SCRIPT, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  let [all, errors] = ['', '']
  child.stdout.on('data', (piece: Buffer) => {
    all += piece.toString()
  })
  child.stderr.on('data', (piece: Buffer) => {
    all += piece.toString()
    errors += piece.toString()
  })
  return { child, output: () => all, stderr: () => errors }
}
