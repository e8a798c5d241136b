// What it costs that an adapter is on disk only: cold starts, cold starts beside a running batch, Zipf traffic over many.
import { readFileSync } from 'node:fs'
import type { BaseModel } from '../../adapters/base-model.ts'
import { type BackendProcess, greedy, greedySampling } from './backend-process.ts'
import { randomDelta } from './random-delta.ts'
import { gaps, median, quantile, type Timing } from './timing.ts'

/** Publishes `count` deltas that no other measure uses. */
async function publish(
  backend: BackendProcess,
  base: BaseModel,
  rank: number,
  first: number,
  count: number,
): Promise<string[]> {
  const digests: string[] = []
  for (let seed = first; seed < first + count; seed++) {
    const { digest, bytes } = await randomDelta(base, rank, seed)
    await backend.admit(digest, bytes)
    digests.push(digest)
  }
  return digests
}

const ttft = ({ sentMs, tokenTimesMs }: Timing) => tokenTimesMs[0]! - sentMs

/** So many that their memory is far more than the process's garbage comes to. */
const COLD_DELTAS = 64
/** Shorter than the pieces in which the server computes prompts and keeps what they gave: that memory is not the deltas'. */
const BRIEF_PROMPT = 'Once upon a time'

/** Milliseconds that a delta on disk adds to the first token, and bytes of memory that it takes over its own. */
export async function coldStart(backend: BackendProcess, base: BaseModel, rank: number) {
  const digests = await publish(backend, base, rank, 1000, COLD_DELTAS)
  const [cold, warm]: [number[], number[]] = [[], []]
  const before = { rss: residentBytes(backend.pid), deltas: await backend.metric('polylora_deltas_in_memory_bytes') }
  for (const delta of digests) {
    const request = { delta, prompt: BRIEF_PROMPT, n: 1, sampling: greedySampling(2) }
    cold.push(ttft(await backend.generate(request)))
    warm.push(ttft(await backend.generate(request)))
  }
  const deltas = (await backend.metric('polylora_deltas_in_memory_bytes')) - before.deltas
  return {
    addedTtftMs: median(cold) - median(warm),
    memoryOverBytes: (residentBytes(backend.pid) - before.rss) / deltas,
  }
}

/** p99 over p50 of 16 streams' waits between tokens while cold adapters load and long prompts arrive all the while. */
export async function disturbed(
  backend: BackendProcess,
  base: BaseModel,
  rank: number,
  digests: readonly string[],
  prompt: string,
): Promise<number> {
  const strangers = await publish(backend, base, rank, 2000, 12)
  const longPrompt = Array.from({ length: 20 }, () => prompt).join(' ')
  let running = true
  const disturb = async () => {
    for (let i = 0; running; i = (i + 1) % strangers.length)
      await backend.generate(greedy(strangers[i]!, longPrompt, 1))
  }
  const disturbance = disturb()
  const timings = await Promise.all(digests.slice(0, 16).map((digest) => backend.generate(greedy(digest, prompt, 128))))
  running = false
  await disturbance
  const waits = gaps(timings)
  return quantile(waits, 0.99) / quantile(waits, 0.5)
}

/** Each takes two seconds with either: of few, the median is as loose as one. */
const ZIPF_ROUNDS = 9

/** Tokens/s of Zipf traffic over `count` adapters with 64 of them in memory, over that of the same traffic over 64. */
export async function zipf(
  backend: BackendProcess,
  base: BaseModel,
  rank: number,
  count: number,
  prompt: string,
): Promise<number> {
  const digests = await publish(backend, base, rank, 10_000, count)
  const rate = async (known: readonly string[]) => {
    const pick = zipfPicker(known.length)
    const startMs = performance.now()
    const [streams, requests, tokens] = [16, 8, 32]
    await Promise.all(
      Array.from({ length: streams }, async () => {
        for (let i = 0; i < requests; i++) await backend.generate(greedy(known[pick()]!, prompt, tokens))
      }),
    )
    return (streams * requests * tokens) / ((performance.now() - startMs) / 1000)
  }
  const few = digests.slice(0, 64)
  await rate(few)
  const [all, memory]: [number[], number[]] = [[], []]
  for (let round = 0; round < ZIPF_ROUNDS; round++) {
    memory.push(await rate(few))
    all.push(await rate(digests))
  }
  return median(all) / median(memory)
}

/** Indices below `count`, index i in proportion to 1 / (i + 1); the same sequence each time. */
function zipfPicker(count: number): () => number {
  const sums: number[] = []
  for (let i = 0; i < count; i++) sums.push((sums[i - 1] ?? 0) + 1 / (i + 1))
  let state = 1
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    const at = (state / 2 ** 32) * sums.at(-1)!
    return sums.findIndex((sum) => sum > at)
  }
}

function residentBytes(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024
}
