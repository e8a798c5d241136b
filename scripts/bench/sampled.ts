// What it costs to choose tokens otherwise than as the likeliest, in pairs with that. A temperature of 1 is what OpenAI's clients
// have unless they say otherwise.
import type { SamplingParams } from '../../gpu-backend/protocol.ts'
import { type BackendProcess, greedy } from './backend-process.ts'
import { inPairs, type PairedLoad } from './in-pairs.ts'
import { summarize } from './timing.ts'

export const DEFAULT_WAY = 'temperature 1'
/** Ways to choose tokens by what is asked for. */
export const WAYS: Readonly<Record<string, Partial<SamplingParams>>> = {
  [DEFAULT_WAY]: { temperature: 1 },
  'temperature 0.7, top_p 0.9': { temperature: 0.7, top_p: 0.9 },
  'temperature 1, top_k 40': { temperature: 1, top_k: 40 },
  'temperature 0, logprobs 5': { temperature: 0, logprobs: 5 },
  'temperature 1, logprobs 5': { temperature: 1, logprobs: 5 },
}

/** Tokens/s of the bare base in a way over those of the likeliest tokens; of each pair. */
export function sampledOverGreedy(
  backend: BackendProcess,
  load: PairedLoad,
  way: Partial<SamplingParams>,
): Promise<number[]> {
  const run = async (asked: Partial<SamplingParams>, tokens: number) => {
    const request = greedy(null, load.prompt.text, tokens)
    const drawn = { ...request, sampling: { ...request.sampling, ...asked } }
    const answers = Array.from({ length: load.streams }, () => backend.generate(drawn))
    return summarize(await Promise.all(answers)).tokensPerSecond
  }
  return inPairs([way, {}], load, run, (sampled, likeliest) => sampled / likeliest)
}
