// One choice of an answer as it comes: tokens to text events, stop strings and calls found, log probabilities named.
// Knows nothing of batches or of other choices. Invariant: the texts joined are the answer, and never go past a stop.
import type { TextStream, Tokenizer } from '../model/tokenizer.ts'
import type { FinishReason, SamplingParams, TokenLogprob } from '../protocol.ts'
import type { Sampled } from '../sampling/sampler.ts'
import { StopMatcher } from '../sampling/stop.ts'
import type { ReadText, ToolCallReader } from '../tools/tool-call-reader.ts'
import type { EngineEvent } from './engine.ts'

/**
 * Some tokens show no text, as special ones. After so many an event without text reports them: a client that leaves before the
 * end is charged for them all the same, and no event gathers log probabilities without bound.
 */
const MAX_UNTOLD_TOKENS = 64

/**
 * Tokens at a prompt's end that the text goes on from. A character has four at most: among so many one is whole, whatever parts of
 * others are before and after it.
 */
const CONTEXT_TOKENS = 10
const NO_TOKENS = new Int32Array()

export interface ChoiceOptions {
  /** Of a request with tools. */
  readonly toolCalls?: ToolCallReader | undefined
  /** Tokens that the text goes on from: of a bare prompt, not of a conversation, whose answer is a text of its own. */
  readonly prompt?: Int32Array | undefined
}

type ChoiceEvent = Extract<EngineEvent, { event: 'text' | 'tool_call' }>

export class ChoiceStream {
  readonly index: number
  readonly #tokenizer: Tokenizer
  readonly #withLogprobs: boolean
  readonly #endTokenIds: ReadonlySet<number>
  readonly #text: TextStream
  readonly #stops: StopMatcher
  readonly #toolCalls: ToolCallReader | undefined
  readonly #offsets = new TextOffsets()
  #tokens = 0
  #logprobs: TokenLogprob[] = []
  #stopped = false

  constructor(
    index: number,
    tokenizer: Tokenizer,
    sampling: SamplingParams,
    endTokenIds: readonly number[],
    { toolCalls, prompt = NO_TOKENS }: ChoiceOptions = {},
  ) {
    this.index = index
    this.#tokenizer = tokenizer
    this.#withLogprobs = sampling.logprobs !== undefined
    this.#endTokenIds = new Set(endTokenIds)
    this.#text = tokenizer.stream()
    this.#stops = new StopMatcher(sampling.stop)
    this.#toolCalls = toolCalls
    for (const token of prompt.slice(-CONTEXT_TOKENS)) this.#shownBefore(token)
  }

  /** Whether a stop string or the last call has been reached: what follows is to be dropped. */
  get isStopped(): boolean {
    return this.#stopped
  }

  /** Why the choice has ended, whose sequence ended for `reason`. */
  finishReason(reason: FinishReason): FinishReason {
    const ended = this.#stopped ? 'stop' : reason
    return ended === 'stop' && this.#toolCalls && this.#toolCalls.calls > 0 ? 'tool_calls' : ended
  }

  /** The events that this token makes due. */
  push({ token, logprob, top }: Sampled): ChoiceEvent[] {
    this.#tokens++
    // A token that ends the answer is counted but is no part of its text.
    if (this.#endTokenIds.has(token)) return []
    const fresh = this.#text.push(token)
    if (this.#withLogprobs) {
      const named = (id: number, value: number) => ({ ...this.#tokenizer.tokenName(id), id, logprob: value })
      const alternatives = top.map((other) => named(other.token, other.logprob))
      const chosen = named(token, logprob)
      this.#logprobs.push({ ...chosen, top: alternatives, offset: this.#offsets.next(chosen.bytes, fresh) })
    }
    const { text, stopped } = this.#stops.push(fresh === '' ? this.#hiddenMark(token) : fresh)
    this.#stopped = stopped
    if (!this.#toolCalls) {
      return text === '' && this.#tokens < MAX_UNTOLD_TOKENS ? [] : this.#events({ text, calls: [] })
    }
    const read = this.#toolCalls.push(text)
    this.#stopped ||= this.#toolCalls.isFull
    // Of a call nothing is shown until it is whole: the tokens say that it is coming.
    return this.#events(read)
  }

  /** What was held back until the end. */
  end(): ChoiceEvent[] {
    let rest = ''
    if (!this.#stopped) {
      const { text, stopped } = this.#stops.push(this.#text.flush())
      this.#stopped = stopped
      rest = text + this.#stops.flush()
    }
    if (!this.#toolCalls) return this.#events({ text: rest, calls: [] })
    const [before, after] = [this.#toolCalls.push(rest), this.#toolCalls.end()]
    return this.#events({ text: before.text + after.text, calls: [...before.calls, ...after.calls] })
  }

  /** Takes a token of the prompt: it tells whether the first word has a space before it, and may be a part of the first character. */
  #shownBefore(token: number): void {
    const fresh = this.#text.push(token)
    if (this.#withLogprobs) this.#offsets.before(this.#tokenizer.tokenName(token).bytes, fresh)
  }

  #events({ text, calls }: ReadText): ChoiceEvent[] {
    const events: ChoiceEvent[] = calls.map((call) => ({ event: 'tool_call', index: this.index, call }))
    if (text === '' && this.#tokens === 0) return events
    const logprobs = this.#withLogprobs ? this.#logprobs : undefined
    events.unshift({ event: 'text', index: this.index, text, tokens: this.#tokens, logprobs })
    this.#tokens = 0
    this.#logprobs = []
    return events
  }

  /** Text of a token that is not shown where it is a mark of a call. */
  #hiddenMark(token: number): string {
    if (!this.#toolCalls) return ''
    const name = this.#tokenizer.tokenText(token)
    return this.#toolCalls.isMark(name) ? name : ''
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

  /** A token of what comes before the text. */
  before(bytes: readonly number[] | undefined, fresh: string): void {
    this.next(bytes, fresh)
    this.#shown = 0
  }

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
