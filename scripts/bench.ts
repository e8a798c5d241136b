// npm run bench: the real server against the bare decode loop of the same graph, in one run, and what a user waits for.
// Rounds alternate between the two and turn their order round; every figure is the median over the rounds.

import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { EMBEDDED_MODEL } from '../gpu-backend/config.ts'
import { SamplingParams } from '../gpu-backend/protocol.ts'
import { BackendProcess, type Timing } from './bench/backend-process.ts'
import type { BareLoop } from './bench/bare-loop.ts'
import { randomDelta } from './bench/random-delta.ts'

const HELP = `npm run bench -- [options]

Compares the backend with the bare decode loop of the same graph, and shows tokens/s, time to the first token and
inter-token times. The model is the file or folder that POLYLORA_BENCH_MODEL names, or the embedded one.

  --weights LIST   of f32, int8, int4 (default int8)
  --streams LIST   (default 1,8,32)
  --rounds N       (default 3)
  --tokens N       generated for each stream (default 128)
  --json FILE      writes the figures there
`

const BARE_LOOP = fileURLToPath(new URL('./bench/bare-loop.ts', import.meta.url))
const CONTEXT_TOKENS = 512
const RANK = 16
const PROMPT_WORDS = 'Please tell me what I should know about your shop before I order something from you today.'
/** About what the prompt is in tokens: the bare loop starts from as many. */
const PROMPT_TOKENS = 32

const MODES = ['bare base', 'one shared', 'all different'] as const
type Mode = (typeof MODES)[number]

interface Row {
  weights: string
  mode: Mode
  streams: number
  tokensPerSecond: number
  bareLoopTokensPerSecond: number
  serverOverBareLoop: number
  ttftMs: number
  interTokenP50Ms: number
  interTokenP99Ms: number
}

const { values: flags } = parseArgs({
  options: {
    weights: { type: 'string', default: 'int8' },
    streams: { type: 'string', default: '1,8,32' },
    rounds: { type: 'string', default: '3' },
    tokens: { type: 'string', default: '128' },
    json: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})

async function main(): Promise<void> {
  if (flags.help) {
    process.stdout.write(HELP)
    return
  }
  const model = process.env.POLYLORA_BENCH_MODEL ?? EMBEDDED_MODEL
  const dataDir = mkdtempSync(join(tmpdir(), 'polylora-bench-'))
  const rows: Row[] = []
  try {
    process.stdout.write(
      `${model}, rank ${RANK}, ${availableParallelism()} threads, medians of ${flags.rounds} rounds\n\n`,
    )
    process.stdout.write('weights mode           streams  tokens/s  bare loop  ratio  TTFT ms  p50 ms  p99 ms\n')
    for (const weights of flags.weights.split(',') as BareLoop['weights'][])
      await benchWeights(model, dataDir, weights, rows)
  } finally {
    rmSync(dataDir, { recursive: true, force: true })
  }
  if (flags.json) writeFileSync(flags.json, `${JSON.stringify({ model, rank: RANK, rows }, null, 2)}\n`)
}

async function benchWeights(model: string, dataDir: string, weights: BareLoop['weights'], rows: Row[]): Promise<void> {
  const streamCounts = flags.streams.split(',').map(Number)
  const most = Math.max(...streamCounts)
  const args = ['--model', model, '--data-dir', dataDir, '--weights', weights, '--context', String(CONTEXT_TOKENS)]
  const backend = await BackendProcess.start([...args, '--max-batch', String(most), '--memory', '8GB'])
  try {
    const { base } = await backend.info()
    const digests: string[] = []
    for (let seed = 1; seed <= most; seed++) {
      const { digest, bytes } = await randomDelta(base, RANK, seed)
      await backend.admit(digest, bytes)
      digests.push(digest)
    }
    for (const mode of MODES) {
      for (const streams of streamCounts) {
        const row = await benchRow(backend, digests, { model, dataDir, weights, mode, streams })
        rows.push(row)
        process.stdout.write(`${formatRow(row)}\n`)
      }
    }
  } finally {
    await backend.stop()
  }
}

interface Setting {
  readonly model: string
  readonly dataDir: string
  readonly weights: BareLoop['weights']
  readonly mode: Mode
  readonly streams: number
}

async function benchRow(backend: BackendProcess, digests: readonly string[], setting: Setting): Promise<Row> {
  const { mode, streams, weights } = setting
  const seeds = Array.from({ length: streams }, (_, i) =>
    mode === 'bare base' ? null : mode === 'one shared' ? 1 : i + 1,
  )
  const server: ReturnType<typeof summarize>[] = []
  const bare: number[] = []
  const runServer = async () => {
    const timings = await Promise.all(
      seeds.map((seed) => backend.generate(request(seed === null ? null : digests[seed - 1]!, Number(flags.tokens)))),
    )
    server.push(summarize(timings))
  }
  const runBare = async () => void bare.push(await bareLoop(setting, seeds))
  await runServer()
  server.length = 0
  for (let round = 0; round < Number(flags.rounds); round++) {
    for (const run of round % 2 === 0 ? [runServer, runBare] : [runBare, runServer]) await run()
  }
  const tokensPerSecond = median(server.map((figures) => figures.tokensPerSecond))
  const bareLoopTokensPerSecond = median(bare)
  return {
    weights,
    mode,
    streams,
    tokensPerSecond,
    bareLoopTokensPerSecond,
    serverOverBareLoop: tokensPerSecond / bareLoopTokensPerSecond,
    ttftMs: median(server.map((figures) => figures.ttftMs)),
    interTokenP50Ms: median(server.map((figures) => figures.p50Ms)),
    interTokenP99Ms: median(server.map((figures) => figures.p99Ms)),
  }
}

function request(delta: string | null, tokens: number) {
  const sampling = SamplingParams.parse({ temperature: 0, max_tokens: tokens, min_tokens: tokens, logprobs: 0 })
  return { delta, messages: [{ role: 'user' as const, content: PROMPT_WORDS }], n: 1, sampling }
}

async function bareLoop(setting: Setting, rows: readonly (number | null)[]): Promise<number> {
  const options: BareLoop = {
    model: setting.model,
    cacheDir: join(setting.dataDir, 'models'),
    weights: setting.weights,
    contextTokens: CONTEXT_TOKENS,
    threads: availableParallelism(),
    rows,
    rank: RANK,
    promptTokens: PROMPT_TOKENS,
    steps: Number(flags.tokens) - 10,
  }
  const { stdout } = await promisify(execFile)(process.execPath, [BARE_LOOP, JSON.stringify(options)])
  return (JSON.parse(stdout) as { tokensPerSecond: number }).tokensPerSecond
}

/** Tokens/s of the whole batch while every stream was running; waits over all of it. */
function summarize(timings: readonly Timing[]) {
  const from = Math.max(...timings.map(({ tokenTimesMs }) => tokenTimesMs[0]!))
  const to = Math.min(...timings.map(({ tokenTimesMs }) => tokenTimesMs.at(-1)!))
  const during = timings.flatMap(({ tokenTimesMs }) => tokenTimesMs.filter((time) => time > from && time <= to))
  const gaps = timings.flatMap(({ tokenTimesMs }) => tokenTimesMs.slice(1).map((time, i) => time - tokenTimesMs[i]!))
  return {
    tokensPerSecond: during.length / ((to - from) / 1000),
    ttftMs: median(timings.map(({ sentMs, tokenTimesMs }) => tokenTimesMs[0]! - sentMs)),
    p50Ms: quantile(gaps, 0.5),
    p99Ms: quantile(gaps, 0.99),
  }
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((x, y) => x - y)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!
}

function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

function formatRow(row: Row): string {
  const number = (value: number, width: number, digits = 0) => value.toFixed(digits).padStart(width)
  return [
    row.weights.padEnd(7),
    row.mode.padEnd(14),
    number(row.streams, 7),
    number(row.tokensPerSecond, 9),
    number(row.bareLoopTokensPerSecond, 10),
    number(row.serverOverBareLoop, 6, 2),
    number(row.ttftMs, 8),
    number(row.interTokenP50Ms, 7, 1),
    number(row.interTokenP99Ms, 7, 1),
  ].join(' ')
}

await main()
