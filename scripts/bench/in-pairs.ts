// Two ways to run one contender by turns, of which each pair of neighbours in time gives a value. A machine that others share is
// a fifth faster in one minute than in the next, so that what was measured minutes apart may differ by more than what is looked
// for.
import type { Prompt } from './contender.ts'
import { type Figures, summarize, type Timing } from './timing.ts'

export interface PairedLoad {
  readonly streams: number
  readonly prompt: Prompt
  readonly tokens: number
  /** How many. */
  readonly pairs: number
}

/** What `compare` makes of each pair. The order of a pair is turned each time. */
export async function inPairs<Way, Value>(
  ways: readonly [Way, Way],
  { tokens, pairs }: PairedLoad,
  run: (way: Way, tokens: number) => Promise<readonly Timing[]>,
  compare: (first: Figures, second: Figures) => Value,
): Promise<Value[]> {
  // Once to warm up: adapters are read, operators choose their paths.
  for (const way of ways) await run(way, 4)
  const values: Value[] = []
  for (let pair = 0; pair < pairs; pair++) {
    const figures = new Map<Way, Figures>()
    for (const way of pair % 2 === 0 ? ways : ways.toReversed()) figures.set(way, summarize(await run(way, tokens)))
    values.push(compare(figures.get(ways[0])!, figures.get(ways[1])!))
  }
  return values
}
