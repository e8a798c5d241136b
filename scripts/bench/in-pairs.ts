// Two ways to run one contender by turns, of which each pair of neighbours in time gives a value. A machine that others share is
// a fifth faster in one minute than in the next, so that what was measured minutes apart may differ by more than what is looked
// for.
import { adaptersOf, type Contender, type Mode, type Prompt } from './contender.ts'
import { summarize } from './timing.ts'

export interface PairedLoad {
  readonly streams: number
  readonly prompt: Prompt
  readonly tokens: number
  /** How many. */
  readonly pairs: number
}

/** Tokens/s of `contender` in `mode`. */
export async function rateInMode(
  contender: Contender,
  { streams, prompt }: PairedLoad,
  mode: Mode,
  tokens: number,
): Promise<number> {
  return summarize(await contender.generate({ adapters: adaptersOf(mode, streams), prompt, tokens })).tokensPerSecond
}

/** What `compare` makes of each pair. The order of a pair is turned each time. */
export async function inPairs<Way, Ran, Value>(
  ways: readonly [Way, Way],
  { tokens, pairs }: PairedLoad,
  run: (way: Way, tokens: number) => Promise<Ran>,
  compare: (first: Ran, second: Ran) => Value,
): Promise<Value[]> {
  // Once to warm up: adapters are read, operators choose their paths.
  for (const way of ways) await run(way, 4)
  const values: Value[] = []
  for (let pair = 0; pair < pairs; pair++) {
    const ran = new Map<Way, Ran>()
    for (const way of pair % 2 === 0 ? ways : ways.toReversed()) ran.set(way, await run(way, tokens))
    values.push(compare(ran.get(ways[0])!, ran.get(ways[1])!))
  }
  return values
}
