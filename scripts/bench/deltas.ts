// What deltas cost: two modes of one contender in pairs.
import { readBandwidth } from './bandwidth.ts'
import type { Contender, Mode } from './contender.ts'
import { inPairs, type PairedLoad, rateInMode } from './in-pairs.ts'

/** Tokens/s with all adapters different over those with one shared; of each pair. */
export function differentOverShared(contender: Contender, load: PairedLoad): Promise<number[]> {
  const run = (mode: Mode, tokens: number) => rateInMode(contender, load, mode, tokens)
  return inPairs(['all different', 'one shared'], load, run, (different, shared) => different / shared)
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
  const { streams } = load
  const run = async (mode: Mode, tokens: number) => {
    const stepMs = (streams * 1000) / (await rateInMode(contender, load, mode, tokens))
    return { stepMs, speed: await readBandwidth() }
  }
  return inPairs(['all different', 'bare base'], load, run, (different, bare) => {
    const ms = different.stepMs - bare.stepMs
    const readBytesPerSecond = (different.speed + bare.speed) / 2
    return { ms, readBytesPerSecond, overReading: (ms * readBytesPerSecond) / (1000 * streams * deltaBytes) }
  })
}
