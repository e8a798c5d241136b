// Proof of effect: one prompt through the real backend, with the adapter and without it, and how far apart the answers are.
// Knows no files. Invariant: an adapter passes only when its log probabilities are finite and differ from the base model's.
import * as z from 'zod/mini'
import type { CallEdge } from './publish-host.ts'

/** Any text does, since both sides see the same tokens; no chat template comes between. */
const PROMPT = 'The most important thing to know about this is'
const ALTERNATIVES = 20
/** Rounding between two runs stays below this; what an adapter that was trained at all changes is far above. */
const MIN_DIFFERENCE = 1e-4

const Answer = z.object({
  choices: z.tuple([z.object({ logprobs: z.object({ top_logprobs: z.tuple([z.record(z.string(), z.number())]) }) })]),
})

/** The adapter does not do what an adapter must; one sentence for its owner. */
export class ProbeFailure extends Error {
  override readonly name = 'ProbeFailure'
}

/** What the probe measured; stored with the version's report. */
export interface ProbeReport {
  readonly prompt: string
  /** Largest difference of a log probability among the likeliest tokens of either model. */
  readonly difference: number
}

/** Asks both models. Throws ProbeFailure when the adapter's answer isn't finite, is the base model's, or is another version's. */
export async function probeAdapter(
  call: CallEdge,
  model: string,
  digest: string,
  baseName: string,
): Promise<ProbeReport> {
  const adapted = await ask(call, model)
  const base = await ask(call, baseName)
  if (adapted.digest !== digest) {
    throw new ProbeFailure(
      `The probe of ${model} was answered by ${adapted.digest}, not by the version just published; somebody else published it at the same time.`,
    )
  }
  const difference = largestDifference(adapted.logprobs, base.logprobs)
  if (difference < MIN_DIFFERENCE && mostLikely(adapted.logprobs) === mostLikely(base.logprobs)) {
    throw new ProbeFailure(
      `${model} answers a probe exactly as the base model does: the adapter has no effect; check that it was trained and saved for ${baseName}.`,
    )
  }
  return { prompt: PROMPT, difference }
}

async function ask(call: CallEdge, model: string): Promise<{ digest: string | null; logprobs: Map<string, number> }> {
  const body = JSON.stringify({ model, prompt: PROMPT, max_tokens: 1, temperature: 0, logprobs: ALTERNATIVES })
  const response = await call('/v1/completions', { method: 'POST', body })
  // An answer that breaks off says nothing of the adapter.
  const text = await response.text()
  const parsed = Answer.safeParse(tryParse(text))
  if (!parsed.success) {
    throw new ProbeFailure(`${model} answers a probe with values that are not finite numbers; train the adapter again.`)
  }
  const [top] = parsed.data.choices[0].logprobs.top_logprobs
  return { digest: response.headers.get('x-polylora-adapter'), logprobs: new Map(Object.entries(top)) }
}

function tryParse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function mostLikely(logprobs: ReadonlyMap<string, number>): string | undefined {
  return [...logprobs].sort(([, x], [, y]) => y - x)[0]?.[0]
}

/** A token that only one side has among its likeliest counts as the distance to the other side's least likely one. */
function largestDifference(x: ReadonlyMap<string, number>, y: ReadonlyMap<string, number>): number {
  const floor = (values: ReadonlyMap<string, number>) => Math.min(...values.values())
  const [xFloor, yFloor] = [floor(x), floor(y)]
  let largest = 0
  for (const token of new Set([...x.keys(), ...y.keys()])) {
    largest = Math.max(largest, Math.abs((x.get(token) ?? xFloor) - (y.get(token) ?? yFloor)))
  }
  return largest
}
