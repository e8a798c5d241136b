// A vLLM server as an operator starts one: a program of its own that listens on a port of this machine.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll } from 'vitest'
import * as z from 'zod/mini'
import { serveArguments } from '../../gpu-backend/engine/vllm/serve-options.ts'
import { GUARD } from '../../gpu-backend/engine/vllm/vllm-process.ts'
import { freePort } from './free-port.ts'
import { SHARED_CORES } from './vllm-server.ts'

export interface ListeningVllm {
  readonly url: string
  /** Digests of the adapters that it has loaded: what their names begin with. */
  adapters(): Promise<string[]>
  /** The last of what it wrote. */
  output(): string
  /** Ends all of its processes at once, as a machine that goes does. */
  kill(): Promise<void>
}

const Models = z.object({ data: z.array(z.object({ id: z.string(), parent: z.nullish(z.string()) })) })
const POLL_MS = 200

/** Resolves when it answers, rejects with its last line when it ends before; gone when the test file ends. */
export async function startListeningVllm(
  command: string,
  options: Parameters<typeof serveArguments>[0],
): Promise<ListeningVllm> {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const args = ['serve', ...serveArguments(options), '--host', '127.0.0.1', '--port', String(port)]
  const child = spawn('/bin/sh', ['-c', GUARD, 'vllm-guard', command, ...args], {
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, VLLM_ALLOW_RUNTIME_LORA_UPDATING: '1', VLLM_NO_USAGE_STATS: '1', ...SHARED_CORES },
  })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (piece: Buffer) => {
      said = (said + piece.toString()).slice(-2000)
    })
  }
  const ended = once(child, 'exit')
  const kill = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    process.kill(-child.pid!, 'SIGKILL')
    await ended
  }
  afterAll(kill)
  while (
    !(await fetch(`${url}/health`).then(
      ({ ok }) => ok,
      () => false,
    ))
  ) {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(`vLLM ended: ${said}`)
    await sleep(POLL_MS)
  }
  return {
    url,
    async adapters() {
      const { data } = Models.parse(await (await fetch(`${url}/v1/models`)).json())
      return data.filter(({ parent }) => parent).map(({ id }) => id.slice(0, 'sha256:'.length + 64))
    },
    output: () => said,
    kill,
  }
}
