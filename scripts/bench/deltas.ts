// What deltas cost: two modes of one contender by turns, of which each pair of neighbours in time gives a figure. A machine
// that others share is a fifth faster in one minute than in the next, so that modes measured minutes apart may differ by more
// than what is looked for.
import { adaptersOf, type Contender, type Mode, type Prompt } from './contender.ts'
import { type Figures, summarize } from './timing.ts'

export interface PairedLoad {
  readonly streams: number
  readonly prompt: Prompt
  readonly tokens: number
  /** How many. */
  readonly pairs: number
}

/** Tokens/s with all adapters different over those with one shared; of each pair. */
export function differentOverShared(contender: Contender, load: PairedLoad): Promise<number[]> {
  return inPairs(contender, ['all different', 'one shared'], load, (different, shared) => {
    return different.tokensPerSecond / shared.tokensPerSecond
  })
}

/** Milliseconds that different deltas add to a step of the bare base; of each pair. */
export function addedStepMs(contender: Contender, load: PairedLoad): Promise<number[]> {
  const stepMs = ({ tokensPerSecond }: Figures) => (load.streams * 1000) / tokensPerSecond
  return inPairs(contender, ['all different', 'bare base'], load, (different, bare) => stepMs(different) - stepMs(bare))
}

/** The order of a pair is turned each time. */
async function inPairs(
  contender: Contender,
  modes: readonly [Mode, Mode],
  { streams, prompt, tokens, pairs }: PairedLoad,
  compare: (first: Figures, second: Figures) => number,
): Promise<number[]> {
  const run = (mode: Mode, tokens: number) =>
    contender.generate({ adapters: adaptersOf(mode, streams), prompt, tokens })
  // Once to warm up: adapters are read, operators choose their paths.
  for (const mode of modes) await run(mode, 4)
  const values: number[] = []
  for (let pair = 0; pair < pairs; pair++) {
    const figures = new Map<Mode, Figures>()
    for (const mode of pair % 2 === 0 ? modes : modes.toReversed())
      figures.set(mode, summarize(await run(mode, tokens)))
    values.push(compare(figures.get(modes[0])!, figures.get(modes[1])!))
  }
  return values
}
