// What deltas cost: two modes of one contender in pairs.
import { adaptersOf, type Contender, type Mode } from './contender.ts'
import { inPairs, type PairedLoad } from './in-pairs.ts'
import type { Figures } from './timing.ts'

/** Tokens/s with all adapters different over those with one shared; of each pair. */
export function differentOverShared(contender: Contender, load: PairedLoad): Promise<number[]> {
  return modesInPairs(contender, ['all different', 'one shared'], load, (different, shared) => {
    return different.tokensPerSecond / shared.tokensPerSecond
  })
}

/** Milliseconds that different deltas add to a step of the bare base; of each pair. */
export function addedStepMs(contender: Contender, load: PairedLoad): Promise<number[]> {
  const stepMs = ({ tokensPerSecond }: Figures) => (load.streams * 1000) / tokensPerSecond
  return modesInPairs(
    contender,
    ['all different', 'bare base'],
    load,
    (different, bare) => stepMs(different) - stepMs(bare),
  )
}

function modesInPairs(
  contender: Contender,
  modes: readonly [Mode, Mode],
  load: PairedLoad,
  compare: (first: Figures, second: Figures) => number,
): Promise<number[]> {
  const { streams, prompt } = load
  const run = (mode: Mode, tokens: number) =>
    contender.generate({ adapters: adaptersOf(mode, streams), prompt, tokens })
  return inPairs(modes, load, run, compare)
}
