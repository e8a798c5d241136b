// Chooses the next token from one row of logits. Knows no other row, no text and no clock.
// Invariant: the choice follows from the logits, the parameters, the seed and the tokens so far, and nothing else.
import { BackendError } from '../errors.ts'
import type { GrammarMatcher } from '../grammar/grammar.ts'
import type { SamplingParams } from '../protocol.ts'
import { Distribution } from './distribution.ts'

/** What the choice may depend on besides the logits. */
export interface SampleContext {
  readonly sampling: SamplingParams
  readonly seed: number
  readonly promptTokens: ArrayLike<number>
  readonly outputTokens: readonly number[]
  /** Tokens that end the sequence: not chosen before `min_tokens`. */
  readonly endTokenIds: readonly number[]
  /** What the text is held to. */
  readonly grammar?: GrammarMatcher | undefined
  /** The largest logit, where it is known: finding it again takes a third of the time. */
  readonly peak?: number | undefined
}

/** A chosen token; `top` is filled where log probabilities were asked for, most likely first. */
export interface Sampled {
  readonly token: number
  /** Natural logarithm of the token's probability under the model's own distribution. */
  readonly logprob: number
  readonly top: readonly { readonly token: number; readonly logprob: number }[]
}

/**
 * The next token; `logits` [vocab] f32 is changed in place.
 * @throws BackendError where the grammar allows no token at all, or the logits are no numbers
 */
export function sample(logits: Float32Array, context: SampleContext): Sampled {
  const { sampling } = context
  const wanted = sampling.logprobs
  const normaliser = wanted === undefined ? 0 : logSumExp(logits, context.peak)
  const raw = wanted === undefined ? undefined : { top: largest(logits, wanted), logits: logits.slice() }
  context.grammar?.mask(logits)
  adjust(logits, context)
  const token = sampling.temperature === 0 ? largestIndex(logits, context) : draw(logits, context)
  if (!Number.isFinite(logits[token])) throw overflow()
  if (!raw) return { token, logprob: 0, top: [] }
  return {
    token,
    logprob: raw.logits[token]! - normaliser,
    top: raw.top.map((id) => ({ token: id, logprob: raw.logits[id]! - normaliser })),
  }
}

/** What a sequence ends with whose numbers have left the range of f32. Other rows of the batch do not notice. */
export function overflow(): BackendError {
  return new BackendError('invalid_delta', "The model's numbers overflow: the adapter's values are too large for it.")
}

/** Near the largest f32. */
const MAX_LOGIT = 3.4e38

/** Bias, penalties and forbidden tokens, as OpenAI (presence, frequency) and CTRL (repetition, arXiv 1909.05858) define them. */
function adjust(
  logits: Float32Array,
  { sampling, promptTokens, outputTokens, endTokenIds, grammar }: SampleContext,
): void {
  for (const [id, bias] of Object.entries(sampling.logit_bias ?? {})) {
    if (Number(id) < logits.length) logits[Number(id)]! += bias
  }
  if (sampling.repetition_penalty !== 1) {
    for (const id of new Set([...Array.from(promptTokens), ...outputTokens])) {
      const logit = logits[id]!
      // A penalty near zero would make it infinite, which no distribution can be made of.
      logits[id] =
        logit > 0 ? Math.min(logit / sampling.repetition_penalty, MAX_LOGIT) : logit * sampling.repetition_penalty
    }
  }
  if (sampling.presence_penalty !== 0 || sampling.frequency_penalty !== 0) {
    const counts = new Map<number, number>()
    for (const id of outputTokens) counts.set(id, (counts.get(id) ?? 0) + 1)
    for (const [id, count] of counts) logits[id]! -= sampling.presence_penalty + sampling.frequency_penalty * count
  }
  // Where the grammar is complete there is nothing but the end to choose.
  if (outputTokens.length >= sampling.min_tokens || grammar?.isComplete) return
  for (const id of endTokenIds) logits[id] = Number.NEGATIVE_INFINITY
}

/** A token drawn at the temperature among those that top-k, top-p and min-p leave. */
function draw(logits: Float32Array, context: SampleContext): number {
  const { sampling, seed, outputTokens } = context
  const best = largestIndex(logits, context)
  const likely = new Distribution(logits, logits[best]!, sampling.temperature)
  return likely.at(uniform(seed, outputTokens.length), sampling) ?? best
}

/** The first of the largest logits: the peak, unless something was raised past it or it was itself lowered. */
function largestIndex(logits: Float32Array, { sampling, peak }: SampleContext): number {
  const raised =
    sampling.logit_bias !== undefined ||
    sampling.repetition_penalty < 1 ||
    sampling.presence_penalty < 0 ||
    sampling.frequency_penalty < 0
  const id = peak === undefined || raised ? -1 : logits.indexOf(peak)
  return id === -1 ? argmax(logits) : id
}

function argmax(logits: Float32Array): number {
  let best = 0
  let value = logits[0]!
  for (let id = 1; id < logits.length; id++) {
    if (logits[id]! > value) {
      value = logits[id]!
      best = id
    }
  }
  return best
}

/** log of the sum of e^logit: what a logit less it is the logarithm of a probability. */
function logSumExp(logits: Float32Array, peak = logits[argmax(logits)]!): number {
  return peak + Math.log(new Distribution(logits, peak, 1).mass)
}

/** The ids of the `count` largest logits, largest first. */
function largest(logits: Float32Array, count: number): number[] {
  const top: number[] = []
  for (let id = 0; id < logits.length; id++) {
    if (top.length === count && !(logits[id]! > logits[top.at(-1) ?? 0]!)) continue
    if (count === 0) break
    let place = top.length
    while (place > 0 && logits[id]! > logits[top[place - 1]!]!) place--
    top.splice(place, 0, id)
    if (top.length > count) top.pop()
  }
  return top
}

/** A number in [0, 1) from the seed and the position: two rounds of splitmix64's finaliser. */
function uniform(seed: number, position: number): number {
  const mask = (1n << 64n) - 1n
  const mix = (value: bigint) => {
    let z = (value + 0x9e3779b97f4a7c15n) & mask
    z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & mask
    z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & mask
    return z ^ (z >> 31n)
  }
  return Number(mix((mix(BigInt(seed)) ^ BigInt(position)) & mask) >> 11n) / 2 ** 53
}
