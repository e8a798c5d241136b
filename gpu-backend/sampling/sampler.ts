// Chooses the next token from one row of logits. Knows no other row, no text and no clock.
// Invariant: the choice follows from the logits, the parameters, the seed and the tokens so far, and nothing else.
import { BackendError } from '../errors.ts'
import type { GrammarMatcher } from '../grammar/grammar.ts'
import type { SamplingParams } from '../protocol.ts'
import { draw } from './draw.ts'
import { BLOCK_TOKENS, type Likelihoods, softmax } from './likelihoods.ts'

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

/** What the model itself says of a token and of the likeliest ones, before anything changes its logits. */
export interface OwnLogprobs {
  readonly top: Sampled['top']
  of(token: number): number
}

/** What one row's token is chosen by, besides its logits. */
export interface RowLikelihoods {
  /** Where log probabilities were asked for. */
  readonly own: OwnLogprobs | undefined
  /** Of the constrained logits at the sequence's temperature; undefined: the largest logit is taken. */
  readonly likelihoods: Likelihoods | undefined
}

/** The smallest f32: a token may be less likely, but JSON has no infinity. */
const LEAST_PROBABILITY = 2 ** -149
/** Below it f32 cannot tell the logits apart that matter: the largest is taken, as vLLM does. */
const LEAST_TEMPERATURE = 1e-5

/** The temperature at which a token is drawn; undefined: the largest logit is taken. */
export function drawingTemperature({ temperature }: SamplingParams): number | undefined {
  return temperature < LEAST_TEMPERATURE ? undefined : temperature
}

/**
 * The next token of a row that is alone; `logits` [vocab] f32 is changed in place.
 * @throws BackendError where the grammar allows no token at all, or the logits are no numbers
 */
export function sample(logits: Float32Array, context: SampleContext): Sampled {
  const { logprobs } = context.sampling
  const own = logprobs === undefined ? undefined : ownLogprobs(softmax(logits, 1), logprobs)
  constrain(logits, context)
  const temperature = drawingTemperature(context.sampling)
  const likelihoods = temperature === undefined ? undefined : softmax(logits, temperature)
  return choose(logits, context, { own, likelihoods })
}

/** What the model says itself, with the `count` likeliest tokens; `likelihoods` are of its own logits at a temperature of 1. */
export function ownLogprobs(likelihoods: Likelihoods, count: number): OwnLogprobs {
  const of = (token: number) => Math.log(Math.max(likelihoods.probabilities[token]!, LEAST_PROBABILITY))
  return { of, top: likeliest(likelihoods, count).map((token) => ({ token, logprob: of(token) })) }
}

/** Takes from `logits` what the grammar and the parameters forbid, and weighs the rest. @throws BackendError as `sample` */
export function constrain(logits: Float32Array, context: SampleContext): void {
  context.grammar?.mask(logits)
  adjust(logits, context)
}

/** The next token by constrained `logits`. @throws BackendError where they are no numbers */
export function choose(logits: Float32Array, context: SampleContext, { own, likelihoods }: RowLikelihoods): Sampled {
  const { sampling, seed, outputTokens } = context
  const drawn = likelihoods && draw(likelihoods, uniform(seed, outputTokens.length), sampling)
  const token = drawn ?? largestIndex(logits, context)
  if (!Number.isFinite(logits[token])) throw overflow()
  return own ? { token, logprob: own.of(token), top: own.top } : { token, logprob: 0, top: [] }
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
    for (const id of distinct([promptTokens, outputTokens], logits.length)) {
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

/** Of the row that is looked at: a set of a long text's tokens takes six times as long. */
let seen = new Uint8Array(0)

/** The tokens of `texts` that the vocabulary has, each once. */
function distinct(texts: readonly ArrayLike<number>[], vocabSize: number): number[] {
  if (seen.length < vocabSize) seen = new Uint8Array(vocabSize)
  const tokens: number[] = []
  for (const text of texts) {
    for (let i = 0; i < text.length; i++) {
      const token = text[i]!
      if (token >= vocabSize || seen[token] === 1) continue
      seen[token] = 1
      tokens.push(token)
    }
  }
  for (const token of tokens) seen[token] = 0
  return tokens
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

/** The `count` likeliest tokens, likeliest first and of equals the first; fewer where others have no probability. */
function likeliest({ probabilities, maxima }: Likelihoods, count: number): number[] {
  const top: number[] = []
  /** What a token must exceed. */
  let least = count > 0 ? 0 : 1
  for (let block = 0; block < maxima.length; block++) {
    if (!(maxima[block]! > least)) continue
    for (let id = block * BLOCK_TOKENS; id < (block + 1) * BLOCK_TOKENS; id++) {
      if (!(probabilities[id]! > least)) continue
      let place = top.length
      while (place > 0 && probabilities[id]! > probabilities[top[place - 1]!]!) place--
      top.splice(place, 0, id)
      if (top.length > count) top.pop()
      if (top.length === count) least = probabilities[top.at(-1)!]!
    }
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
