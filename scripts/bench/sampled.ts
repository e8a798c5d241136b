// What it costs to draw tokens: a temperature of 1, which OpenAI's clients have unless they say otherwise, by turns with 0.
import { SamplingParams } from '../../gpu-backend/protocol.ts'
import type { BackendProcess } from './backend-process.ts'
import { summarize } from './timing.ts'

export interface SampledLoad {
  readonly streams: number
  readonly prompt: string
  readonly tokens: number
  /** How many. */
  readonly pairs: number
}

/** Tokens/s of the bare base at a temperature of 1 over those at 0; of each pair of neighbours in time. */
export async function sampledOverGreedy(backend: BackendProcess, load: SampledLoad): Promise<number[]> {
  const rate = async (temperature: number, tokens: number) => {
    const sampling = SamplingParams.parse({ temperature, max_tokens: tokens, min_tokens: tokens })
    const request = { delta: null, messages: [{ role: 'user' as const, content: load.prompt }], n: 1, sampling }
    const streams = Array.from({ length: load.streams }, () => backend.generate(request))
    return summarize(await Promise.all(streams)).tokensPerSecond
  }
  // Once to warm up.
  for (const temperature of [0, 1]) await rate(temperature, 4)
  const ratios: number[] = []
  for (let pair = 0; pair < load.pairs; pair++) {
    const rates = new Map<number, number>()
    for (const temperature of pair % 2 === 0 ? [0, 1] : [1, 0])
      rates.set(temperature, await rate(temperature, load.tokens))
    ratios.push(rates.get(1)! / rates.get(0)!)
  }
  return ratios
}
