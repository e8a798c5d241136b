// What comes back for the sequences of one request, as the events of one answer.
// Knows no batches and no threads. Invariant: `started` is the first event and comes once, `done` is the last.
import type { FinishReason, Tier } from '../protocol.ts'
import type { Sampled } from '../sampling/sampler.ts'
import type { ChoiceStream } from './choice-stream.ts'
import type { EngineEvent } from './engine.ts'

export interface EndOfSequence {
  readonly reason: FinishReason
  /** Of the prompt's tokens, those that were not computed again. */
  readonly cachedTokens: number
  /** The fullest step that the sequence took part in. */
  readonly batchRows: number
  readonly batchDeltas: number
}

/** What an engine says of one sequence; `ended` and `embedded` are the last. */
export type SequenceMessage =
  | {
      readonly type: 'started'
      readonly tier: Tier | null
      /** Absent where only the end tells. */
      readonly cachedTokens?: number | undefined
      readonly loadMs?: number | undefined
    }
  | { readonly type: 'token'; readonly token: Sampled }
  | { readonly type: 'ended'; readonly end: EndOfSequence }
  | { readonly type: 'embedded'; readonly embedding: Float32Array }

/**
 * `choices` are the answer's choices by their sequence's id, as many for each prompt; `tokensOfPrompts` counts those of
 * each prompt; `stop` is called with the id of a choice whose text has reached a stop string. Throws what `messages` throws.
 */
export async function* answerEvents(
  messages: AsyncIterable<readonly [number, SequenceMessage]>,
  choices: ReadonlyMap<number, ChoiceStream>,
  tokensOfPrompts: readonly number[],
  stop: (id: number) => void,
): AsyncGenerator<EngineEvent> {
  let started = false
  let [completionTokens, rows, deltas] = [0, 0, 0]
  const promptTokens = sum(tokensOfPrompts)
  const choicesPerPrompt = choices.size / tokensOfPrompts.length
  const cachedOfPrompts: (number | undefined)[] = tokensOfPrompts.map(() => undefined)
  const begun = new Set<number>()
  for await (const [id, message] of messages) {
    const choice = choices.get(id)!
    switch (message.type) {
      case 'started': {
        const { tier, cachedTokens, loadMs } = message
        if (!started) yield { event: 'started', promptTokens, cachedTokens, tier, loadMs }
        started = true
        begun.add(id)
        break
      }
      case 'token': {
        if (choice.isStopped) break
        completionTokens++
        yield* choice.push(message.token)
        if (choice.isStopped) stop(id)
        break
      }
      case 'ended': {
        // A deadline may end a sequence that never started.
        if (!started) yield { event: 'started', promptTokens, tier: null }
        started = true
        yield* choice.end()
        const prompt = Math.floor(choice.index / choicesPerPrompt)
        // What one choice computes is there for the next ones: the prompt was computed once. One that never began tells nothing.
        const { cachedTokens } = message.end
        if (begun.has(id)) cachedOfPrompts[prompt] = Math.min(cachedOfPrompts[prompt] ?? cachedTokens, cachedTokens)
        rows = Math.max(rows, message.end.batchRows)
        deltas = Math.max(deltas, message.end.batchDeltas)
        // Whoever makes the tokens may have been done before it heard that the text was.
        yield { event: 'finished', index: choice.index, reason: choice.finishReason(message.end.reason) }
      }
    }
  }
  const usage = {
    prompt_tokens: promptTokens,
    cached_tokens: sum(cachedOfPrompts.map((cached = 0) => cached)),
    completion_tokens: completionTokens,
  }
  yield { event: 'done', usage, batch: { rows, deltas } }
}

function sum(counts: readonly number[]): number {
  return counts.reduce((total, count) => total + count, 0)
}
