// One choice of an answer as it comes: tokens to text events, stop strings found, log probabilities named.
// Knows nothing of batches or of other choices. Invariant: the texts joined are the answer, and never go past a stop.
import type { TextStream, Tokenizer } from '../model/tokenizer.ts'
import type { SamplingParams, TokenLogprob } from '../protocol.ts'
import type { Sampled } from '../sampling/sampler.ts'
import { StopMatcher } from '../sampling/stop.ts'
import type { EngineEvent } from './engine.ts'

type TextEvent = Extract<EngineEvent, { event: 'text' }>

export class ChoiceStream {
  readonly index: number
  readonly #tokenizer: Tokenizer
  readonly #withLogprobs: boolean
  readonly #stopTokenIds: ReadonlySet<number>
  readonly #text: TextStream
  readonly #stops: StopMatcher
  readonly #offsets = new TextOffsets()
  #tokens = 0
  #logprobs: TokenLogprob[] = []
  #stopped = false

  constructor(index: number, tokenizer: Tokenizer, sampling: SamplingParams, stopTokenIds: readonly number[]) {
    this.index = index
    this.#tokenizer = tokenizer
    this.#withLogprobs = sampling.logprobs !== undefined
    this.#stopTokenIds = new Set(stopTokenIds)
    this.#text = tokenizer.stream()
    this.#stops = new StopMatcher(sampling.stop)
  }

  /** Whether a stop string has been reached: what follows is to be dropped. */
  get isStopped(): boolean {
    return this.#stopped
  }

  /** The event that this token makes due, if any. */
  push({ token, logprob, top }: Sampled): TextEvent | undefined {
    this.#tokens++
    // A token that ends the answer is counted but is no part of its text.
    if (this.#stopTokenIds.has(token)) return undefined
    const fresh = this.#text.push(token)
    if (this.#withLogprobs) {
      const named = (id: number, value: number) => ({ ...this.#tokenizer.tokenName(id), id, logprob: value })
      const alternatives = top.map((other) => named(other.token, other.logprob))
      const chosen = named(token, logprob)
      this.#logprobs.push({ ...chosen, top: alternatives, offset: this.#offsets.next(chosen.bytes, fresh) })
    }
    const { text, stopped } = this.#stops.push(fresh)
    this.#stopped = stopped
    return text === '' ? undefined : this.#event(text)
  }

  /** What was held back until the end. */
  end(): TextEvent | undefined {
    let rest = ''
    if (!this.#stopped) {
      const { text, stopped } = this.#stops.push(this.#text.flush())
      this.#stopped = stopped
      rest = text + this.#stops.flush()
    }
    return rest === '' && this.#tokens === 0 ? undefined : this.#event(rest)
  }

  #event(text: string): TextEvent {
    const logprobs = this.#withLogprobs ? this.#logprobs : undefined
    const event: TextEvent = { event: 'text', index: this.index, text, tokens: this.#tokens, logprobs }
    this.#tokens = 0
    this.#logprobs = []
    return event
  }
}

/**
 * Where each token's text begins in the text of them all. Counted in what is shown and not in the tokens' names: special
 * tokens show nothing, and the first of SentencePiece's loses its space.
 */
class TextOffsets {
  /** Characters of whole texts. */
  #shown = 0
  /** Of tokens whose text waits for the rest of a character: those that are complete. */
  #waiting = 0
  #decoder = utf8Decoder()

  /** The offset of the next token, of which `bytes` are given where it is but a part of a character. */
  next(bytes: readonly number[] | undefined, fresh: string): number {
    const offset = this.#shown + this.#waiting
    if (fresh === '') {
      this.#waiting += characters(this.#decoder.decode(Uint8Array.from(bytes ?? []), { stream: true }))
    } else {
      this.#shown += characters(fresh)
      this.#waiting = 0
      this.#decoder = utf8Decoder()
    }
    return offset
  }
}

function utf8Decoder() {
  return new TextDecoder('utf-8', { ignoreBOM: true })
}

function characters(text: string): number {
  return Array.from(text).length
}
