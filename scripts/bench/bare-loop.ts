// The bare decode loop: the same graph, rows and deltas as the server's, without server, tokenizer or sampler.
// A process of its own: node scripts/bench/bare-loop.ts '<JSON of BareLoop>' prints {"tokensPerSecond":...}.

import { decodeDelta } from '../../adapters/canonical.ts'
import { Runner } from '../../gpu-backend/engine/onnx/runner.ts'
import { graphPath, identify } from '../../gpu-backend/model/built-model.ts'
import type { WeightFormat } from '../../gpu-backend/model/graph.ts'
import { openModelSource } from '../../gpu-backend/model/open-model.ts'
import { packDelta, viewPacked } from '../../gpu-backend/residency/packed-delta.ts'
import { randomDelta } from './random-delta.ts'

export interface BareLoop {
  readonly model: string
  readonly cacheDir: string
  readonly weights: WeightFormat
  readonly contextTokens: number
  readonly threads: number
  /** Seed of each row's delta; null: the bare base. */
  readonly rows: readonly (number | null)[]
  readonly rank: number
  readonly promptTokens: number
  readonly steps: number
}

const options = JSON.parse(process.argv[2]!) as BareLoop
const source = await openModelSource(options.model)
const base = await identify(source, 'bench', options.cacheDir)
const path = await graphPath(
  source,
  base.fingerprint,
  options.weights,
  options.contextTokens,
  'fused',
  options.cacheDir,
)
const { config } = source
const { threads, contextTokens } = options
const runner = new Runner({
  graphPath: path,
  config,
  device: 'cpu',
  threads,
  maxRows: options.rows.length,
  contextTokens,
})
const deltas = new Map<number, ReturnType<typeof viewPacked>>()
for (const seed of options.rows) {
  if (seed === null || deltas.has(seed)) continue
  const { digest, bytes } = await randomDelta(base, options.rank, seed)
  const { shape, values } = packDelta(digest, decodeDelta(bytes, base), runner.groups, base)
  deltas.set(seed, viewPacked(digest, shape, runner.groups, base, values))
}
const prompt = Array.from({ length: options.promptTokens }, (_, i) => 5 + i)
for (const [row, seed] of options.rows.entries()) {
  runner.prefill(row, prompt, 0, seed === null ? null : deltas.get(seed)!, [prompt.length - 1])
}
const step = (past: number) =>
  runner.decode(
    options.rows.map((seed, row) => ({ token: 7 + row, past, delta: seed === null ? null : deltas.get(seed)! })),
  )
const warmUp = 5
for (let i = 0; i < warmUp; i++) step(prompt.length + i)
const startMs = performance.now()
for (let i = 0; i < options.steps; i++) step(prompt.length + warmUp + i)
const seconds = (performance.now() - startMs) / 1000
process.stdout.write(`${JSON.stringify({ tokensPerSecond: (options.rows.length * options.steps) / seconds })}\n`)
