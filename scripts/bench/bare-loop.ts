// The bare decode loop: the same graph, rows, deltas and order of work as the server's (a piece of a prompt between two
// steps, so that sequences are as long when all of them run), without server, tokenizer or sampler.
// A process of its own: node scripts/bench/bare-loop.ts '<JSON of BareLoop>'; one line of {adapters, prompt, tokens} in,
// one line of {sentMs, tokenTimesMs} out.

import { createInterface } from 'node:readline'
import type { PackedDelta } from '../../gpu-backend/residency/packed-delta.ts'
import { type BareRunnerOptions, openBareRunner } from './bare-runner.ts'

export interface BareLoop extends Omit<BareRunnerOptions, 'device'> {
  readonly rank: number
}

interface Request {
  readonly adapters: readonly (number | null)[]
  readonly prompt: readonly number[]
  readonly tokens: number
}

const options = JSON.parse(process.argv[2]!) as BareLoop
const { runner, delta: makeDelta } = await openBareRunner({ ...options, device: 'cpu' })
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
  const packed = await makeDelta(options.rank, adapter + 1)
  deltas.set(adapter, packed)
  return packed
}
