// What deltas cost: two modes of one contender in pairs.
import { readBandwidth } from './bandwidth.ts'
import { adaptersOf, type Contender, type Mode } from './contender.ts'
import { inPairs, type PairedLoad } from './in-pairs.ts'
import type { Figures } from './timing.ts'

/** Tokens/s with all adapters different over those with one shared; of each pair. */
export function differentOverShared(contender: Contender, load: PairedLoad): Promise<number[]> {
  return modesInPairs(contender, ['all different', 'one shared'], load, (different, shared) => {
    return different.tokensPerSecond / shared.tokensPerSecond
  })
}

/** What different deltas add to a step of the bare base. */
export interface Added {
  readonly ms: number
  /** That memory gave beside it. */
  readonly readBytesPerSecond: number
  /** The milliseconds over those of reading the deltas once. */
  readonly overReading: number
}

/** For deltas of `deltaBytes` each; of each pair. Memory is measured after each run: what it gives changes from minute to minute. */
export function addedByDeltas(contender: Contender, load: PairedLoad, deltaBytes: number): Promise<Added[]> {
  const stepMs = ({ tokensPerSecond }: Figures) => (load.streams * 1000) / tokensPerSecond
  const speeds: number[] = []
  const measured: Contender = {
    ...contender,
    generate: async (request) => {
      const timings = await contender.generate(request)
      speeds.push(await readBandwidth())
      return timings
    },
  }
  return modesInPairs(measured, ['all different', 'bare base'], load, (different, bare) => {
    const ms = stepMs(different) - stepMs(bare)
    const readBytesPerSecond = (speeds.at(-1)! + speeds.at(-2)!) / 2
    return { ms, readBytesPerSecond, overReading: (ms * readBytesPerSecond) / (1000 * load.streams * deltaBytes) }
  })
}

function modesInPairs<Value>(
  contender: Contender,
  modes: readonly [Mode, Mode],
  load: PairedLoad,
  compare: (first: Figures, second: Figures) => Value,
): Promise<Value[]> {
  const { streams, prompt } = load
  const run = (mode: Mode, tokens: number) =>
    contender.generate({ adapters: adaptersOf(mode, streams), prompt, tokens })
  return inPairs(modes, load, run, compare)
}
