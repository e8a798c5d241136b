// Generation events -> OpenAI's JSON: the whole answer, or the data of server-sent events one by one.
// Invariant: pure; what the events say is what is written, and an answer without `done` is never written as complete.
import type { FinishReason, GenerateEvent, TokenLogprob, ToolCall, Usage } from '../../gpu-backend/protocol.ts'
import { priceNano, type Terms } from '../metering/terms.ts'
import type { AnswerHead, Extension, OpenAiUsage } from './answer-schemas.ts'
import type { ChoicePart, Dialect } from './dialect.ts'

type Event<Name extends GenerateEvent['event']> = Extract<GenerateEvent, { event: Name }>

/** What is the same in every chunk of one answer. */
export interface AnswerFrame {
  readonly dialect: Dialect
  readonly id: string
  readonly model: string
  readonly createdMs: number
  /** Digest of the adapter; null: the bare base model. */
  readonly digest: string | null
  readonly base: string
  /** The adapter's bytes had to be pushed to the backend first. */
  readonly cold: boolean
  /** What the answer is charged by; null: it was charged before, and is given again. */
  readonly terms: Terms | null
}

interface ChoiceState {
  text: string
  reason: FinishReason | null
  logprobs: TokenLogprob[] | undefined
  calls: ToolCall[]
}

const FINGERPRINT_DIGITS = 12

/** `sha256:` and the first twelve digits of what answered: the adapter, or the base where there is none. */
function systemFingerprint({ digest, base }: Pick<AnswerFrame, 'digest' | 'base'>): string {
  return (digest ?? base).slice(0, 'sha256:'.length + FINGERPRINT_DIGITS)
}

/** Collects the events of one answer. Usage: `add` each event, then `body` once `done` has come. */
export class WholeAnswer {
  readonly #frame: AnswerFrame
  readonly #choices = new Map<number, ChoiceState>()
  #started: Event<'started'> | undefined
  #done: Event<'done'> | undefined

  constructor(frame: AnswerFrame) {
    this.#frame = frame
  }

  add(event: GenerateEvent): void {
    if (event.event === 'started') this.#started = event
    else if (event.event === 'done') this.#done = event
    else if (event.event === 'finished') this.#choice(event.index).reason = event.reason
    else if (event.event === 'tool_call') this.#choice(event.index).calls.push(event.call)
    else if (event.event === 'text') {
      const choice = this.#choice(event.index)
      choice.text += event.text
      if (event.logprobs) {
        choice.logprobs ??= []
        choice.logprobs.push(...event.logprobs)
      }
    }
  }

  /** @throws Error where the events ended before `done` */
  body(): object {
    if (!this.#done) throw new Error('the answer is not complete')
    const { dialect } = this.#frame
    const choices = [...this.#choices].sort(([a], [b]) => a - b)
    return {
      ...head(this.#frame, dialect.object),
      choices: choices.map(([index, state]) =>
        dialect.choice({ ...state, index, offset: 0, first: true, callsBefore: 0 }),
      ),
      usage: openAiUsage(this.#done.usage),
      polylora: extension(this.#frame, this.#started, this.#done),
    }
  }

  #choice(index: number): ChoiceState {
    const known = this.#choices.get(index)
    if (known) return known
    const created: ChoiceState = { text: '', reason: null, logprobs: undefined, calls: [] }
    this.#choices.set(index, created)
    return created
  }
}

/** Turns each event into the chunks to send at once. The last finish waits for `done`, to carry what was measured. */
export class ChunkedAnswer {
  readonly #frame: AnswerFrame
  readonly #includeUsage: boolean
  /** Characters and calls sent, by choice. */
  readonly #sent = new Map<number, { chars: number; calls: number }>()
  #started: Event<'started'> | undefined
  #heldFinish: ChoicePart | undefined

  constructor(frame: AnswerFrame, includeUsage: boolean) {
    this.#frame = frame
    this.#includeUsage = includeUsage
  }

  chunks(event: GenerateEvent): object[] {
    if (event.event === 'started') {
      this.#started = event
      return []
    }
    if (event.event === 'text') {
      const { index, text, logprobs } = event
      return text || logprobs ? [this.#chunk(this.#part(index, { text, logprobs }))] : []
    }
    if (event.event === 'tool_call') return [this.#chunk(this.#part(event.index, { calls: [event.call] }))]
    if (event.event === 'finished') {
      const before = this.#flushFinish({})
      this.#heldFinish = this.#part(event.index, { reason: event.reason })
      return before
    }
    return event.event === 'done' ? this.#end(event) : []
  }

  #end(done: Event<'done'>): object[] {
    const polylora = extension(this.#frame, this.#started, done)
    const last = this.#flushFinish({ polylora })
    if (!this.#includeUsage) return last
    const head = this.#head()
    return [...last, { ...head, choices: [], usage: openAiUsage(done.usage), polylora }]
  }

  #flushFinish(extra: object): object[] {
    const part = this.#heldFinish
    this.#heldFinish = undefined
    return part ? [{ ...this.#chunk(part), ...extra }] : []
  }

  #part(index: number, piece: Partial<ChoicePart>): ChoicePart {
    const part = { text: '', reason: null, logprobs: undefined, calls: [], ...piece }
    const sent = this.#sent.get(index)
    const { chars, calls } = sent ?? { chars: 0, calls: 0 }
    this.#sent.set(index, { chars: chars + part.text.length, calls: calls + part.calls.length })
    return { ...part, index, offset: chars, callsBefore: calls, first: sent === undefined }
  }

  #chunk(part: ChoicePart): object {
    const choices = [this.#frame.dialect.chunkChoice(part)]
    return { ...this.#head(), choices, ...(this.#includeUsage ? { usage: null } : {}) }
  }

  #head(): AnswerHead {
    return head(this.#frame, this.#frame.dialect.chunkObject)
  }
}

function head(frame: AnswerFrame, object: AnswerHead['object']): AnswerHead {
  return {
    id: frame.id,
    object,
    created: Math.floor(frame.createdMs / 1000),
    model: frame.model,
    system_fingerprint: systemFingerprint(frame),
  }
}

function openAiUsage({ prompt_tokens, cached_tokens, completion_tokens }: Usage): OpenAiUsage {
  return {
    prompt_tokens,
    completion_tokens,
    total_tokens: prompt_tokens + completion_tokens,
    prompt_tokens_details: { cached_tokens },
  }
}

function extension(frame: AnswerFrame, started: Event<'started'> | undefined, done: Event<'done'>): Extension {
  const decodeMs = done.total_ms - done.ttft_ms
  const decoded = done.usage.completion_tokens - 1
  return {
    adapter: frame.digest,
    base: frame.base,
    tier: started?.tier ?? null,
    cold: frame.cold,
    batch: done.batch,
    queue_ms: tenths(done.queue_ms),
    ttft_ms: tenths(done.ttft_ms),
    tokens_per_second: decoded > 0 && decodeMs > 0 ? tenths((decoded / decodeMs) * 1000) : null,
    price_nano: frame.terms === null ? 0 : priceNano(frame.terms, done.usage),
  }
}

function tenths(value: number): number {
  return Math.round(value * 10) / 10
}
