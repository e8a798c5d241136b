// npx node scripts/bench/engines.ts: engines side by side on this machine's devices, the same base model, deltas, prompt and
// number type. Each is a backend of its own; rounds go from one to the other and turn their order round.
import { writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { EMBEDDED_MODEL } from '../../gpu-backend/config.ts'
import { oneOf, outFile, parseFlags, someOf, text, wholeNumber, wholeNumbers } from '../parse-flags.ts'
import { passingFolder } from '../passing-folder.ts'
import { runScript } from '../run-script.ts'
import { VLLM_COMMAND } from '../vllm-dir.ts'
import { BackendProcess, greedy } from './backend-process.ts'
import { untilQuiet } from './quiet.ts'
import { randomDelta } from './random-delta.ts'
import { type Figures, medians, summarize } from './timing.ts'

const HELP = `npx node scripts/bench/engines.ts [options]

Tokens/s and time to the first token of the onnx and the vllm engine, with one shared delta and with as many different ones
as streams. The model is the Hugging Face directory that POLYLORA_BENCH_MODEL names, or the embedded one.

  --engines LIST   engine:device, where device is cpu, webgpu (onnx) or cuda (default onnx:cpu,vllm:cpu)
  --weights F      f32 or f16 (default f32)
  --streams LIST   (default 1,8,16)
  --rounds N       (default 3)
  --tokens N       generated for each stream (default 64)
  --vllm PATH      the vllm command (default: where scripts/install-vllm.ts puts it)
  --json FILE      writes the figures there
`

const RANK = 16
const CONTEXT_TOKENS = 512
const PROMPT = 'Please tell me what I should know about your shop before I order something from you today.'
const ENGINES = ['onnx:cpu', 'onnx:webgpu', 'onnx:cuda', 'vllm:cpu', 'vllm:cuda'] as const
const MODES = ['one shared', 'all different'] as const

interface Row extends Figures {
  readonly mode: (typeof MODES)[number]
  readonly streams: number
  readonly engine: string
}

const flags = parseFlags(HELP, {
  engines: someOf(ENGINES, ['onnx:cpu', 'vllm:cpu']),
  weights: oneOf(['f32', 'f16'], 'f32'),
  streams: wholeNumbers([1, 8, 16]),
  rounds: wholeNumber(3),
  tokens: wholeNumber(64, 2),
  vllm: text(VLLM_COMMAND),
  json: outFile(),
})

async function main(): Promise<void> {
  const model = process.env.POLYLORA_BENCH_MODEL ?? EMBEDDED_MODEL
  const streamCounts = flags.streams
  const most = Math.max(...streamCounts)
  const { path: root, release } = passingFolder(tmpdir())
  const common = [
    ...['--model', model, '--weights', flags.weights, '--context', String(CONTEXT_TOKENS)],
    ...['--max-batch', String(most), '--memory', '4GB'],
  ]
  const more: Readonly<Record<string, readonly string[]>> = {
    vllm: ['--vllm-command', flags.vllm, '--max-loras', String(most), '--max-rank', String(RANK)],
  }
  const engines = new Map<string, BackendProcess>()
  const rows: Row[] = []
  try {
    for (const name of flags.engines) {
      const [engine = '', device = ''] = name.split(':')
      const own = ['--engine', engine, '--device', device, '--data-dir', join(root, name), ...(more[engine] ?? [])]
      engines.set(name, await BackendProcess.start([...common, ...own]))
    }
    const digests = await admitAll([...engines.values()], most)
    process.stdout.write(
      `${model}, ${flags.weights}, rank ${RANK}, ${availableParallelism()} threads, medians of ${flags.rounds} rounds of ${flags.tokens} tokens\n\n` +
        'mode           streams       engine  tokens/s  TTFT ms  p50 ms  p99 ms\n',
    )
    for (const mode of MODES) {
      for (const streams of streamCounts) {
        const measured = await measure(engines, streams, (i) => digests[mode === 'one shared' ? 0 : i]!)
        for (const [engine, figures] of measured) {
          rows.push({ mode, streams, engine, ...figures })
          process.stdout.write(`${format(rows.at(-1)!)}\n`)
        }
      }
    }
  } finally {
    for (const backend of engines.values()) await backend.stop()
    await release()
  }
  if (flags.json) writeFileSync(flags.json, `${JSON.stringify({ model, rank: RANK, rows }, null, 2)}\n`)
}

async function admitAll(backends: readonly BackendProcess[], count: number): Promise<string[]> {
  const { base } = await backends[0]!.info()
  const deltas = await Promise.all(Array.from({ length: count }, (_, seed) => randomDelta(base, RANK, seed + 1)))
  for (const backend of backends) for (const { digest, bytes } of deltas) await backend.admit(digest, bytes)
  return deltas.map(({ digest }) => digest)
}

/** Medians over the rounds, after one that only warms up. */
async function measure(
  engines: ReadonlyMap<string, BackendProcess>,
  streams: number,
  digestOf: (stream: number) => string,
): Promise<Map<string, Figures>> {
  const figures = new Map(Array.from(engines.keys(), (name) => [name, [] as Figures[]]))
  for (let round = -1; round < flags.rounds; round++) {
    const order = round % 2 === 0 ? [...engines] : [...engines].reverse()
    for (const [name, backend] of order) {
      await untilQuiet()
      const requests = Array.from({ length: streams }, (_, i) =>
        backend.generate(greedy(digestOf(i), PROMPT, flags.tokens)),
      )
      const summary = summarize(await Promise.all(requests))
      if (round >= 0) figures.get(name)!.push(summary)
    }
  }
  return new Map(Array.from(figures, ([name, rounds]) => [name, medians(rounds)]))
}

function format({ mode, streams, engine, tokensPerSecond, ttftMs, interTokenP50Ms, interTokenP99Ms }: Row): string {
  const number = (value: number, width: number, digits = 0) => value.toFixed(digits).padStart(width)
  return [
    mode.padEnd(14),
    number(streams, 7),
    engine.padStart(12),
    number(tokensPerSecond, 9),
    number(ttftMs, 8),
    number(interTokenP50Ms, 7, 1),
    number(interTokenP99Ms, 7, 1),
  ].join(' ')
}

await runScript(main)
