// vLLM's own server as a contender, asked over HTTP as ours is. Knows its command line and its API, not its insides.
import { type ChildProcess, spawn } from 'node:child_process'
import { Agent } from 'node:http'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import * as z from 'zod/mini'
import { GUARD } from '../../gpu-backend/engine/vllm/vllm-process.ts'
import type { Contender, Load } from './contender.ts'
import { postTimed } from './post-timed.ts'
import type { Timing } from './timing.ts'

export interface VllmServerOptions {
  /** The folder that setup.sh made. */
  readonly venv: string
  /** Holds `model` and `adapter-0` .. */
  readonly workDir: string
  readonly dtype: string
  readonly rows: number
  readonly rank: number
  readonly contextTokens: number
  readonly withLora: boolean
}

const BASE = 'base'
const POLL_MS = 500
const KV_CACHE_GIB = '2'
const Chunk = z.object({ choices: z.array(z.object({ token_ids: z.nullish(z.array(z.number())) })) })

/** Starts it on a socket and waits until it is ready. @throws Error with its last line when it ends before */
export async function startVllmServer(
  description: Pick<Contender, 'name' | 'streams'>,
  options: VllmServerOptions,
): Promise<Contender> {
  const socketPath = join(
    options.workDir,
    `${options.withLora ? 'lora' : 'bare'}-${crypto.randomUUID().slice(0, 8)}.sock`,
  )
  const child = spawn(
    '/bin/sh',
    ['-c', GUARD, 'vllm-guard', join(options.venv, 'bin', 'vllm'), 'serve', ...argsOf(options), '--uds', socketPath],
    { detached: true, stdio: ['pipe', 'pipe', 'pipe'], env: { VLLM_CPU_KVCACHE_SPACE: KV_CACHE_GIB, ...process.env } },
  )
  await untilReady(child, socketPath)
  const connection = { socketPath, agent: new Agent({ keepAlive: true }) }
  return {
    ...description,
    generate: (load) =>
      Promise.all(load.adapters.map((adapter) => generate(connection, adapter === null ? BASE : `a${adapter}`, load))),
    stop: async () => {
      connection.agent.destroy()
      const ended = new Promise((resolve) => child.once('exit', resolve))
      child.stdin?.end()
      await ended
    },
  }
}

function argsOf({ workDir, dtype, rows, rank, contextTokens, withLora }: VllmServerOptions): string[] {
  const adapters = Array.from({ length: rows }, (_, i) => `a${i}=${join(workDir, `adapter-${i}`)}`)
  return [
    join(workDir, 'model'),
    ...['--served-model-name', BASE, '--dtype', dtype, '--max-model-len', String(contextTokens)],
    // No prompt finds what another has computed, as in the other contenders; no line is logged for each request.
    ...['--max-num-seqs', String(rows), '--no-enable-prefix-caching', '--disable-uvicorn-access-log'],
    ...(withLora ? ['--enable-lora', '--max-loras', String(rows), '--max-cpu-loras', String(rows)] : []),
    ...(withLora ? ['--max-lora-rank', String(rank), '--lora-modules', ...adapters] : []),
  ]
}

async function untilReady(child: ChildProcess, socketPath: string): Promise<void> {
  let [last, hasEnded] = ['it said nothing', false]
  for (const stream of [child.stdout!, child.stderr!]) {
    createInterface({ input: stream }).on('line', (line) => {
      if (line.trim() !== '') last = line
    })
  }
  child.once('exit', () => {
    hasEnded = true
  })
  const probe = { prompt: 'a', max_tokens: 1, model: BASE }
  for (;;) {
    await sleep(POLL_MS)
    if (hasEnded) throw new Error(`vllm serve ended: ${last}`)
    const isReady = await postTimed('http://localhost/v1/completions', { socketPath }, probe).then(
      () => true,
      () => false,
    )
    if (isReady) return
  }
}

async function generate(connection: object, model: string, { prompt, tokens }: Load): Promise<Timing> {
  const { sentMs, lines } = await postTimed('http://localhost/v1/completions', connection, {
    ...{ model, prompt: prompt.ids, stream: true, return_token_ids: true },
    ...{ temperature: 0, max_tokens: tokens, min_tokens: tokens, ignore_eos: true },
  })
  const tokenTimesMs: number[] = []
  for (const { ms, line } of lines) {
    if (!line.startsWith('data: {')) continue
    const [choice] = Chunk.parse(JSON.parse(line.slice('data: '.length))).choices
    for (const _ of choice?.token_ids ?? []) tokenTimesMs.push(ms)
  }
  return { sentMs, tokenTimesMs }
}
