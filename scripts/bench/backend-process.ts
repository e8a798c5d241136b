// Starts a real backend as a process of its own and talks to it as the edge does.
import { type ChildProcess, spawn } from 'node:child_process'
import { Agent } from 'node:http'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { importCapabilityKey, mintCapability, type Work } from '../../gpu-backend/capability.ts'
import { BackendInfo, GenerateEvent, type GenerateRequest, SamplingParams } from '../../gpu-backend/protocol.ts'
import { CliError } from '../cli-error.ts'
import { endProcess, endWithUs } from './end-process.ts'
import { postTimed } from './post-timed.ts'
import type { Timing } from './timing.ts'

const MAIN = fileURLToPath(new URL('../../gpu-backend/main.ts', import.meta.url))
const SECRET = 'a secret of the benchmark, on loopback only'
const MAX_TOKENS = 100_000

export class BackendProcess {
  readonly #child: ChildProcess
  readonly #url: string
  readonly #key: Awaited<ReturnType<typeof importCapabilityKey>>
  readonly #agent = new Agent({ keepAlive: true })

  private constructor(child: ChildProcess, url: string, key: Awaited<ReturnType<typeof importCapabilityKey>>) {
    this.#child = child
    this.#url = url
    this.#key = key
  }

  get pid(): number {
    return this.#child.pid!
  }

  /** Starts the backend on a free port; rejects with its last line when it does not come up. */
  static async start(args: readonly string[]): Promise<BackendProcess> {
    const child = spawn(process.execPath, [MAIN, '--port', '0', ...args], {
      env: { ...process.env, POLYLORA_BACKEND_SECRET: SECRET },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    endWithUs(child)
    let last = 'it said nothing'
    const url = await new Promise<string>((resolve, reject) => {
      child.once('exit', () => reject(new CliError(`The backend did not start: ${last}`)))
      createInterface({ input: child.stderr! }).on('line', (line) => {
        last = line
        const found = /"url":"([^"]+)"/.exec(line)?.[1]
        if (found) resolve(found)
      })
    })
    return new BackendProcess(child, url, await importCapabilityKey(SECRET))
  }

  async info(): Promise<BackendInfo> {
    return BackendInfo.parse(await (await fetch(`${this.#url}/v1/base`)).json())
  }

  async admit(digest: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const headers = { authorization: `Bearer ${await this.#token('admit', digest, 'publisher')}` }
    const response = await fetch(`${this.#url}/v1/adapters/${digest}`, { method: 'PUT', headers, body: bytes })
    if (!response.ok) throw new Error(`The backend refused a delta: ${await response.text()}`)
  }

  /** Generates and reports when each token came. Another tenant asks each time: what one has is not found again for the next. */
  async generate(request: GenerateRequest, tenant: string = crypto.randomUUID()): Promise<Timing> {
    const headers = { authorization: `Bearer ${await this.#token('generate', request.delta, tenant)}` }
    const { sentMs, lines } = await postTimed(`${this.#url}/v1/generate`, { headers, agent: this.#agent }, request)
    const tokenTimesMs: number[] = []
    for (const { ms, line } of lines) {
      const event = GenerateEvent.parse(JSON.parse(line))
      if (event.event === 'error') throw new Error(`The backend failed: ${event.message}`)
      if (event.event === 'text') for (let i = 0; i < event.tokens; i++) tokenTimesMs.push(ms)
    }
    return { sentMs, tokenTimesMs }
  }

  /** One of the numbers at /metrics. */
  async metric(name: string): Promise<number> {
    const text = await (await fetch(`${this.#url}/metrics`)).text()
    const line = text.split('\n').find((candidate) => candidate.startsWith(`${name} `))
    if (!line) throw new Error(`The backend has no metric ${name}.`)
    return Number(line.slice(name.length))
  }

  async stop(): Promise<void> {
    this.#agent.destroy()
    await endProcess(this.#child)
  }

  #token(work: Work, delta: string | null, tenant: string): Promise<string> {
    return mintCapability(this.#key, {
      work,
      tenant,
      delta,
      request_id: crypto.randomUUID(),
      expires_ms: Date.now() + 600_000,
      limits: { max_tokens: MAX_TOKENS, max_delta_bytes: Number.MAX_SAFE_INTEGER },
    })
  }
}

/** A greedy request of exactly `tokens` tokens. */
export function greedy(delta: string | null, content: string, tokens: number): GenerateRequest {
  return { delta, messages: [{ role: 'user', content }], n: 1, sampling: greedySampling(tokens) }
}

export function greedySampling(tokens: number): SamplingParams {
  return SamplingParams.parse({ temperature: 0, max_tokens: tokens, min_tokens: tokens })
}
