// What it costs to draw tokens: a temperature of 1, which OpenAI's clients have unless they say otherwise, in pairs with 0.
import { type BackendProcess, greedy } from './backend-process.ts'
import { inPairs, type PairedLoad } from './in-pairs.ts'

/** Tokens/s of the bare base at a temperature of 1 over those at 0; of each pair. */
export function sampledOverGreedy(backend: BackendProcess, load: PairedLoad): Promise<number[]> {
  const run = (temperature: number, tokens: number) => {
    const request = greedy(null, load.prompt.text, tokens)
    const drawn = { ...request, sampling: { ...request.sampling, temperature } }
    return Promise.all(Array.from({ length: load.streams }, () => backend.generate(drawn)))
  }
  return inPairs([1, 0], load, run, (sampled, greedy) => sampled.tokensPerSecond / greedy.tokensPerSecond)
}
