// What is left of the bare loop's speed once a server, its tokenizer and a client are around it, in pairs.
import { adaptersOf, type Contender } from './contender.ts'
import { inPairs, type PairedLoad } from './in-pairs.ts'
import { summarize } from './timing.ts'

/** Tokens/s of the bare base through the server over those of the loop of its graph; of each pair. */
export function serverOverLoop(server: Contender, loop: Contender, load: PairedLoad): Promise<number[]> {
  const { streams, prompt } = load
  const run = async (contender: Contender, tokens: number) => {
    const answers = await contender.generate({ adapters: adaptersOf('bare base', streams), prompt, tokens })
    return summarize(answers).tokensPerSecond
  }
  return inPairs([server, loop], load, run, (served, bare) => served / bare)
}
