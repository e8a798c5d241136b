// The bare decode loop: the same graph, rows, deltas and order of work as the server's (a piece of a prompt between two
// steps, so that sequences are as long when all of them run), without server, tokenizer or sampler.
// A process of its own: node scripts/bench/bare-loop.ts '<JSON of BareLoop>'; one line of {adapters, prompt, tokens} in,
// one line of {sentMs, tokenTimesMs} out.

import { createInterface } from 'node:readline'
import { decodeDelta } from '../../adapters/canonical.ts'
import { Runner } from '../../gpu-backend/engine/onnx/runner.ts'
import { graphPath, identify } from '../../gpu-backend/model/built-model.ts'
import { openModelSource } from '../../gpu-backend/model/open-model.ts'
import { floatTypeOf, type WeightFormat } from '../../gpu-backend/model/weight-formats.ts'
import { type PackedDelta, packDelta, viewPacked } from '../../gpu-backend/residency/packed-delta.ts'
import { randomDelta } from './random-delta.ts'

export interface BareLoop {
  readonly model: string
  readonly cacheDir: string
  readonly weights: WeightFormat
  readonly contextTokens: number
  readonly threads: number
  readonly maxRows: number
  readonly rank: number
}

interface Request {
  readonly adapters: readonly (number | null)[]
  readonly prompt: readonly number[]
  readonly tokens: number
}

const options = JSON.parse(process.argv[2]!) as BareLoop
const { cacheDir, contextTokens, threads, maxRows } = options
const source = await openModelSource(options.model)
const base = await identify(source, 'bench', cacheDir)
const path = await graphPath(
  source,
  base.fingerprint,
  { format: options.weights, target: 'cpu', positions: contextTokens },
  cacheDir,
)
const runner = new Runner({
  graphPath: path,
  config: source.config,
  floatType: floatTypeOf(options.weights),
  device: 'cpu',
  threads,
  maxRows,
  contextTokens,
})
const { chunkTokens } = runner
const deltas = new Map<number, PackedDelta>()
process.stdout.write('{"ready":true}\n')
for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await generate(JSON.parse(line) as Request))}\n`)
}
runner.release()

async function generate({ adapters, prompt, tokens }: Request): Promise<{ sentMs: number; tokenTimesMs: number[][] }> {
  const rows = await Promise.all(adapters.map((adapter) => (adapter === null ? null : delta(adapter))))
  const sentMs = performance.now()
  const times: number[][] = []
  const decode = () => {
    runner.decode(
      times.map(({ length }, row) => ({ token: 7 + row, past: prompt.length + length - 1, delta: rows[row]! })),
    )
    const now = performance.now()
    for (const row of times) row.push(now)
  }
  for (const [row, delta] of rows.entries()) {
    for (let start = 0; start < prompt.length; start += chunkTokens) {
      const end = Math.min(prompt.length, start + chunkTokens)
      runner.prefill(row, prompt.slice(start, end), start, delta, [end - start - 1])
      if (end === prompt.length) times.push([performance.now()])
      if (times.length > 0) decode()
    }
  }
  while (times[0]!.length < tokens) decode()
  return { sentMs, tokenTimesMs: times }
}

async function delta(adapter: number): Promise<PackedDelta> {
  const known = deltas.get(adapter)
  if (known) return known
  const { digest, bytes } = await randomDelta(base, options.rank, adapter + 1)
  const { shape, values } = packDelta(digest, decodeDelta(bytes, base), runner.groups, base)
  const packed = viewPacked(digest, shape, runner.groups, base, values)
  deltas.set(adapter, packed)
  return packed
}
