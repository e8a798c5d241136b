// What the figures are held to: for each a floor and a goal, and how it follows from what was measured.
// A figure whose parts were not measured is left out.
import type { Mode } from './contender.ts'
import type { Added } from './deltas.ts'
import { DEFAULT_WAY } from './sampled.ts'
import type { Figures } from './timing.ts'

export interface Row extends Figures {
  readonly contender: string
  readonly mode: Mode
  readonly streams: number
}

/** What is measured beside the rows; absent where it was not. */
export interface Extras {
  /** By the number of streams: tokens/s of the bare base. */
  serverOverLoop?: Readonly<Record<number, number>> | undefined
  /** Tokens/s of the server, 16 streams. */
  differentOverShared?: number | undefined
  /** By the number of streams: what different deltas add to a step of the loop, medians. */
  addedByDeltas?: Readonly<Record<number, Added>> | undefined
  /** By the way in which tokens are chosen and the number of streams: tokens/s of the server over those of greedy answers. */
  sampledOverGreedy?: Readonly<Record<string, Readonly<Record<number, number>>>> | undefined
  prefillTokensPerSecond?: number | undefined
  peerPrefillTokensPerSecond?: number | undefined
  coldTtftMs?: number | undefined
  memoryOverBytes?: number | undefined
  disturbedP99OverP50?: number | undefined
  zipfOverInMemory?: number | undefined
}

export interface Goal {
  readonly name: string
  readonly floor: number
  readonly goal: number
  readonly value: number | undefined
  /** Whether less is better. */
  readonly isLimit?: boolean
}

/** `server` names the rows of the weights that are compared. */
export function goals(rows: readonly Row[], extras: Extras, server: string): Goal[] {
  const rate = (contender: string, mode: Mode, streams: number) =>
    rows.find((row) => row.contender === contender && row.mode === mode && row.streams === streams)?.tokensPerSecond
  const over = (x: number | undefined, y: number | undefined) =>
    x === undefined || y === undefined ? undefined : x / y
  const bare = (streams: number) => rate(server, 'bare base', streams)
  const different = (streams: number) => rate(server, 'all different', streams)
  const list = (
    name: string,
    streams: readonly number[],
    floors: readonly number[],
    aims: readonly number[],
    value: (n: number) => number | undefined,
  ): Goal[] =>
    streams.map((n, i) => ({ name: `${name}, ${n} streams`, floor: floors[i]!, goal: aims[i]!, value: value(n) }))
  const limit = (goal: Goal): Goal => ({ ...goal, isLimit: true })
  return [
    ...list('server over its bare loop, bare base', [1, 32], [0.92, 0.92], [0.97, 0.97], (n) => {
      return extras.serverOverLoop?.[n]
    }),
    // The engine alone, in a process that does nothing else, is held to the same.
    ...[
      { of: "vLLM's", bareName: 'vLLM', loraName: 'vLLM with LoRA' },
      { of: "vLLM's engine's", bareName: 'vLLM engine', loraName: 'vLLM engine with LoRA' },
    ].flatMap(({ of, bareName, loraName }) => [
      ...list(`all different over ${of} all different`, [8, 32], [4, 4], [8, 6], (n) =>
        over(different(n), rate(loraName, 'all different', n)),
      ),
      ...list(`all different over ${of} bare base`, [8, 32], [1, 0.9], [1.6, 1.3], (n) =>
        over(different(n), rate(bareName, 'bare base', n)),
      ),
      ...list(`bare base over ${of} bare base`, [1, 8, 32], [2.5, 1.3, 1.1], [4, 2, 1.8], (n) =>
        over(bare(n), rate(bareName, 'bare base', n)),
      ),
    ]),
    ...list("all different over PEFT's mixed batch", [32], [7], [12], (n) =>
      over(different(n), rate('PEFT', 'all different', n)),
    ),
    // One by one, llama.cpp is as fast for any number of streams.
    ...list('all different over llama.cpp one by one', [8, 32], [3, 4], [5, 7], (n) =>
      over(different(n), rate('llama.cpp', 'all different', 8)),
    ),
    ...list('time of the deltas over reading them once', [8, 32], [1.6, 1.6], [1.1, 1.1], (n) => {
      return extras.addedByDeltas?.[n]?.overReading
    }).map(limit),
    { name: 'all different over one shared, 16 streams', floor: 0.8, goal: 0.95, value: extras.differentOverShared },
    ...list(`${DEFAULT_WAY} over greedy, bare base`, [8, 32], [0.85, 0.85], [0.95, 0.95], (n) => {
      return extras.sampledOverGreedy?.[DEFAULT_WAY]?.[n]
    }),
    {
      name: "prefill tokens/s over vLLM's engine's",
      floor: 1,
      goal: 2,
      value: over(extras.prefillTokensPerSecond, extras.peerPrefillTokensPerSecond),
    },
    limit({ name: 'cold adapter: added ms to the first token', floor: 50, goal: 20, value: extras.coldTtftMs }),
    limit({
      name: 'p99 over p50 between tokens, 16 streams, disturbed',
      floor: 3,
      goal: 2,
      value: extras.disturbedP99OverP50,
    }),
    { name: 'Zipf traffic over all in memory', floor: 0.85, goal: 0.95, value: extras.zipfOverInMemory },
    limit({
      name: 'memory of a delta in the host tier over its bytes',
      floor: 1.1,
      goal: 1.02,
      value: extras.memoryOverBytes,
    }),
  ]
}

/** Reached, above the floor, or short of it; of a goal that was measured. */
export function verdict({ value = Number.NaN, floor, goal, isLimit }: Goal): string {
  const atLeast = (limit: number) => (isLimit ? value <= limit : value >= limit)
  return atLeast(goal) ? 'goal' : atLeast(floor) ? 'floor' : 'SHORT'
}
