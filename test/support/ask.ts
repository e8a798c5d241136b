// Asks an engine as the server does and gathers what it says.
import type { Engine, EngineEvent, RequestContext } from '../../gpu-backend/engine/engine.ts'
import {
  choicesOf,
  type FinishReason,
  type GenerateRequest,
  SamplingParams,
  type Usage,
} from '../../gpu-backend/protocol.ts'

/** A request with the test's defaults: the base model, greedy, eight tokens, never an end token. */
export interface Question extends Partial<Omit<GenerateRequest, 'sampling'>> {
  readonly sampling?: Partial<SamplingParams>
  readonly tenant?: string
  readonly allowedTokens?: number
  readonly signal?: AbortSignal
}

export interface Choice {
  text: string
  /** Ids of the tokens that are part of the text. */
  tokens: number[]
  logprobs: number[]
  reason: FinishReason | undefined
}

export interface Answer {
  readonly events: readonly EngineEvent[]
  readonly choices: readonly Choice[]
  /** Choice 0. */
  readonly text: string
  readonly tokens: readonly number[]
  readonly reason: FinishReason | undefined
  readonly usage: Usage | undefined
  readonly batch: { readonly rows: number; readonly deltas: number } | undefined
}

const DEFAULT_TOKENS = 8

export function requestOf(question: Question): GenerateRequest {
  const { tenant: _, allowedTokens: __, signal: ___, sampling, ...request } = question
  const max_tokens = sampling?.max_tokens ?? DEFAULT_TOKENS
  const defaults = { temperature: 0, max_tokens, min_tokens: max_tokens, logprobs: 0 }
  return {
    delta: null,
    n: 1,
    ...(request.prompt === undefined && request.messages === undefined ? { prompt: 'Hello there' } : {}),
    ...request,
    sampling: SamplingParams.parse({ ...defaults, ...sampling }),
  }
}

export function contextOf(question: Question = {}): RequestContext {
  return {
    requestId: 'test',
    tenant: question.tenant ?? 'acme',
    maxTokens: question.allowedTokens ?? 1_000_000,
    signal: question.signal ?? new AbortController().signal,
  }
}

/** The answer's events as they come. */
export function stream(engine: Engine, question: Question = {}): AsyncIterable<EngineEvent> {
  return engine.generate(requestOf(question), contextOf(question))
}

/** Waits for the whole answer; `onEvent` sees each event before. */
export async function ask(
  engine: Engine,
  question: Question = {},
  onEvent: (event: EngineEvent) => void = () => {},
): Promise<Answer> {
  const events: EngineEvent[] = []
  for await (const event of stream(engine, question)) {
    events.push(event)
    onEvent(event)
  }
  return answerOf(events, choicesOf(requestOf(question)))
}

function answerOf(events: readonly EngineEvent[], n: number): Answer {
  const choices = Array.from({ length: n }, (): Choice => ({ text: '', tokens: [], logprobs: [], reason: undefined }))
  for (const event of events) {
    if (event.event === 'text') {
      const choice = choices[event.index]!
      choice.text += event.text
      choice.tokens.push(...(event.logprobs ?? []).map(({ id }) => id))
      choice.logprobs.push(...(event.logprobs ?? []).map(({ logprob }) => logprob))
    } else if (event.event === 'finished') choices[event.index]!.reason = event.reason
  }
  const done = events.find((event) => event.event === 'done')
  const { text, tokens, reason } = choices[0]!
  return { events, choices, text, tokens, reason, usage: done?.usage, batch: done?.batch }
}

/** One piece, as a body that arrives. */
export async function* body(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
