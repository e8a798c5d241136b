// npx node scripts/bench/steps.ts: what one step of the bare graph takes on a device, without server, tokenizer or sampler.
import { availableParallelism, tmpdir } from 'node:os'
import { EMBEDDED_MODEL } from '../../gpu-backend/config.ts'
import { WEIGHT_FORMATS } from '../../gpu-backend/model/weight-formats.ts'
import { CliError } from '../cli-error.ts'
import { oneOf, parseFlags, wholeNumber, wholeNumbers } from '../parse-flags.ts'
import { passingFolder } from '../passing-folder.ts'
import { runScript } from '../run-script.ts'
import { openBareRunner } from './bare-runner.ts'
import { adaptersOf, MODES } from './contender.ts'
import { quantile } from './timing.ts'

const HELP = `npx node scripts/bench/steps.ts [options]

Milliseconds of a decode step, for the bare base, one shared delta and all different ones, of several tokens of one row at
once, as draft tokens are verified, and of a prompt of 512 tokens. The model is what POLYLORA_BENCH_MODEL names, or the embedded
one.

  --device D      cpu, webgpu or cuda (default cpu)
  --weights F     f32, f16, int8 or int4 (default int8; on cuda f16)
  --rows LIST     (default 1,8,32)
  --past N        tokens of each row before the first step (default 64)
  --steps N       decode steps for each (default 60)
`

const RANK = 16
const CONTEXT_TOKENS = 1024
const PROMPT_TOKENS = 512
const WARM_UP_STEPS = 5
const PROMPTS = 5

const flags = parseFlags(HELP, {
  device: oneOf(['cpu', 'webgpu', 'cuda'], 'cpu'),
  weights: oneOf(WEIGHT_FORMATS),
  rows: wholeNumbers([1, 8, 32]),
  past: wholeNumber(64, 0),
  steps: wholeNumber(60),
})

async function main(): Promise<void> {
  const { device, rows: rowCounts } = flags
  const last = flags.past + WARM_UP_STEPS + flags.steps
  if (last > CONTEXT_TOKENS) {
    throw new CliError(
      `--past and --steps lead to ${last} tokens a row; ${CONTEXT_TOKENS} is the most, ${WARM_UP_STEPS} steps to warm up among them.`,
      2,
    )
  }
  const maxRows = Math.max(...rowCounts)
  const { path: root, release } = passingFolder(tmpdir())
  try {
    const { runner, delta } = await openBareRunner({
      model: process.env.POLYLORA_BENCH_MODEL ?? EMBEDDED_MODEL,
      cacheDir: root,
      weights: flags.weights ?? (device === 'cuda' ? 'f16' : 'int8'),
      device,
      threads: availableParallelism(),
      maxRows,
      contextTokens: CONTEXT_TOKENS,
    })
    const deltas = await Promise.all(Array.from({ length: maxRows }, (_, row) => delta(RANK, row + 1)))
    for (const mode of MODES) {
      for (const rows of rowCounts) {
        const running = adaptersOf(mode, rows).map((adapter) => (adapter === null ? null : deltas[adapter]!))
        const times = timesOf(WARM_UP_STEPS + flags.steps, (step) => {
          const past = flags.past + step
          runner.decode(running.map((delta, row) => ({ token: 7 + row, past, delta })))
        }).slice(WARM_UP_STEPS)
        tell(`${mode}, ${rows} rows`, times, rows)
      }
    }
    for (const [what, delta] of [
      ['bare base', null],
      ['with a delta', deltas[0]!],
    ] as const) {
      const tokens = Array.from({ length: runner.verifyTokens }, (_, i) => 7 + i)
      if (tokens.length === 0) continue
      const times = timesOf(WARM_UP_STEPS + flags.steps, () => runner.verify(tokens, flags.past, delta)).slice(
        WARM_UP_STEPS,
      )
      tell(`${what}, ${tokens.length} tokens of a row`, times, tokens.length)
    }
    const prompt = Int32Array.from({ length: PROMPT_TOKENS }, (_, i) => 5 + (i % 200))
    const times = timesOf(1 + PROMPTS, () => {
      for (let start = 0; start < PROMPT_TOKENS; start += runner.chunkTokens) {
        const piece = prompt.subarray(start, start + runner.chunkTokens)
        runner.prefill(0, piece, start, deltas[0]!, [piece.length - 1])
      }
    }).slice(1)
    tell(`a prompt of ${PROMPT_TOKENS}, ${runner.chunkTokens} at a time`, times, PROMPT_TOKENS)
    runner.release()
  } finally {
    await release()
  }
}

function timesOf(times: number, run: (time: number) => void): number[] {
  return Array.from({ length: times }, (_, time) => {
    const startMs = performance.now()
    run(time)
    return performance.now() - startMs
  })
}

function tell(what: string, times: readonly number[], tokens: number): void {
  const [p50, best] = [quantile(times, 0.5), Math.min(...times)]
  const rate = (tokens / p50) * 1000
  process.stdout.write(
    `${what.padEnd(34)} ${p50.toFixed(2).padStart(8)} ms (best ${best.toFixed(2)})  ${rate.toFixed(0).padStart(7)} tokens/s\n`,
  )
}

await runScript(main)
