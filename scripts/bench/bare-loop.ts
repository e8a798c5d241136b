// The bare decode loop: the same graph, rows and deltas as the server's, without server, tokenizer or sampler.
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
const path = await graphPath(source, base.fingerprint, options.weights, contextTokens, 'fused', cacheDir)
const runner = new Runner({
  graphPath: path,
  config: source.config,
  floatType: floatTypeOf(options.weights),
  device: 'cpu',
  threads,
  maxRows,
  contextTokens,
})
const deltas = new Map<number, PackedDelta>()
process.stdout.write('{"ready":true}\n')
for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await generate(JSON.parse(line) as Request))}\n`)
}
runner.release()

async function generate({ adapters, prompt, tokens }: Request): Promise<{ sentMs: number; tokenTimesMs: number[][] }> {
  const rows = await Promise.all(adapters.map((adapter) => (adapter === null ? null : delta(adapter))))
  const sentMs = performance.now()
  for (const [row, delta] of rows.entries()) runner.prefill(row, prompt, 0, delta, [prompt.length - 1])
  const times: number[] = []
  for (let token = 0; token < tokens; token++) {
    runner.decode(rows.map((delta, row) => ({ token: 7 + row, past: prompt.length + token, delta })))
    times.push(performance.now())
  }
  return { sentMs, tokenTimesMs: rows.map(() => times) }
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
