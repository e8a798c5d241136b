// npx node scripts/bench/waits.ts: what a user waits for beside the model's own work. Every figure is of the real backend over
// HTTP.
import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { EMBEDDED_MODEL } from '../../gpu-backend/config.ts'
import { WEIGHT_FORMATS } from '../../gpu-backend/model/weight-formats.ts'
import { SamplingParams } from '../../gpu-backend/protocol.ts'
import { oneOf, outFile, parseFlags, wholeNumber } from '../parse-flags.ts'
import { passingFolder } from '../passing-folder.ts'
import { runScript } from '../run-script.ts'
import { BackendProcess } from './backend-process.ts'
import { gaps, quantile } from './timing.ts'

const HELP = `npx node scripts/bench/waits.ts [options]

The gaps of a running stream while others' long prompts are computed, and a start when the graph is on disk. The model is what
POLYLORA_BENCH_MODEL names, or the embedded one.

  --weights F   f32, f16, int8 or int4 (default int8)
  --prompts N   long prompts beside the stream (default 12)
  --json FILE   writes the figures there
`

const PROMPT_TOKENS = 512
const CONTEXT_TOKENS = 1024
const STARTS = 3

const flags = parseFlags(HELP, {
  weights: oneOf(WEIGHT_FORMATS, 'int8'),
  prompts: wholeNumber(12),
  json: outFile(),
})
const model = process.env.POLYLORA_BENCH_MODEL ?? EMBEDDED_MODEL
const { path: dataDir, release } = passingFolder(tmpdir())
const args = ['--model', model, '--data-dir', dataDir, '--weights', flags.weights, '--context', String(CONTEXT_TOKENS)]
const memory = ['--memory', '1GB', '--max-batch', '4']

/** Milliseconds from the start of the process to the line that says it listens. */
async function start(): Promise<{ backend: BackendProcess; ms: number }> {
  const beganMs = performance.now()
  const backend = await BackendProcess.start([...args, ...memory])
  return { backend, ms: performance.now() - beganMs }
}

function request(prompt: string, tokens: number) {
  const sampling = SamplingParams.parse({ temperature: 0, max_tokens: tokens, min_tokens: tokens, logprobs: 0 })
  return { delta: null, prompt, n: 1, sampling }
}

/** A prompt of about PROMPT_TOKENS tokens that begins like no other, so that nothing of it is cached. */
function longPrompt(index: number): string {
  return `${index}.${' the'.repeat(PROMPT_TOKENS - 4)}`
}

/** Gaps between a stream's tokens while nothing else runs, and while one long prompt after another is computed. */
async function streamBesidePrompts(backend: BackendProcess) {
  const alone = gaps([await backend.generate(request('Once upon a time', 200))])
  const stream = backend.generate(request('Once upon a time', 900))
  const firsts: number[] = []
  for (let index = 0; index < flags.prompts; index++) {
    const { sentMs, tokenTimesMs } = await backend.generate(request(longPrompt(index), 1))
    firsts.push(tokenTimesMs[0]! - sentMs)
  }
  const untilMs = performance.now()
  const { tokenTimesMs, sentMs } = await stream
  const beside = gaps([{ sentMs, tokenTimesMs: tokenTimesMs.filter((time) => time < untilMs) }])
  return {
    aloneP50Ms: quantile(alone, 0.5),
    aloneP99Ms: quantile(alone, 0.99),
    besideP50Ms: quantile(beside, 0.5),
    besideP99Ms: quantile(beside, 0.99),
    besideMaxMs: Math.max(...beside),
    promptP50Ms: quantile(firsts, 0.5),
  }
}

async function main(): Promise<void> {
  try {
    const { backend: building, ms: firstStartMs } = await start()
    await building.stop()
    const starts: number[] = []
    for (let i = 0; i < STARTS; i++) {
      const { backend, ms } = await start()
      starts.push(ms)
      await backend.stop()
    }
    const { backend } = await start()
    const figures = {
      firstStartMs,
      nextStartMs: quantile(starts, 0.5),
      ...(await streamBesidePrompts(backend)),
    }
    await backend.stop()
    for (const [name, value] of Object.entries(figures)) {
      process.stdout.write(`${name.replace(/Ms$/, '').padEnd(12)} ${value.toFixed(1).padStart(9)} ms\n`)
    }
    if (flags.json)
      writeFileSync(flags.json, `${JSON.stringify({ model, weights: flags.weights, ...figures }, null, 2)}\n`)
  } finally {
    await release()
  }
}

await runScript(main)
