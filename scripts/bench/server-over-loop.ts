// What is left of the bare loop's speed once a server, its tokenizer and a client are around it, in pairs.
import type { Contender } from './contender.ts'
import { inPairs, type PairedLoad, rateInMode } from './in-pairs.ts'

/** Tokens/s of the bare base through the server over those of the loop of its graph; of each pair. */
export function serverOverLoop(server: Contender, loop: Contender, load: PairedLoad): Promise<number[]> {
  const run = (contender: Contender, tokens: number) => rateInMode(contender, load, 'bare base', tokens)
  return inPairs([server, loop], load, run, (served, bare) => served / bare)
}
