// One sequence of tokens: all that is known of a request's choice from arrival to its last token.
// Plain state, no tensors; the scheduler moves it on and the step fills it.
import type { FinishReason, SamplingParams, Tier } from '../protocol.ts'

/** What a sequence is made of; it crosses from the server to the engine's thread. */
export interface SequenceRequest {
  /** Unique in the engine. */
  readonly id: number
  readonly tenant: string
  /** null: the bare base model. */
  readonly digest: string | null
  readonly promptTokens: Int32Array
  readonly sampling: SamplingParams
  readonly seed: number
  /** The model's end tokens and the request's `stop_token_ids`. */
  readonly endTokenIds: readonly number[]
  /** Tokens to generate at most; 0: embed the prompt instead of generating. */
  readonly maxTokens: number
  /** Milliseconds since the epoch. */
  readonly deadlineMs: number | undefined
}

export interface Sequence extends SequenceRequest {
  /** Row of the batch; -1 before it is admitted. */
  row: number
  /** Tokens of the sequence that are in the KV cache. */
  numComputedTokens: number
  /** Of the prompt's tokens, those copied from the prefix cache. */
  numCachedTokens: number
  readonly outputTokens: number[]
  tier: Tier | null
  /** How long the delta took to come from disk, where this sequence set the reading off. */
  loadMs: number | undefined
  /** The fullest decode step so far. */
  maxBatchRows: number
  maxBatchDeltas: number
}

/** One that has just arrived. */
export function newSequence(request: SequenceRequest): Sequence {
  return {
    ...request,
    row: -1,
    numComputedTokens: 0,
    numCachedTokens: 0,
    outputTokens: [],
    tier: null,
    loadMs: undefined,
    maxBatchRows: 0,
    maxBatchDeltas: 0,
  }
}

/** Whether the sequence is over after its newest token, and why. */
export function finishReason(
  sequence: Pick<Sequence, 'outputTokens' | 'endTokenIds' | 'maxTokens'>,
): FinishReason | undefined {
  const last = sequence.outputTokens.at(-1)
  if (last !== undefined && sequence.endTokenIds.includes(last)) return 'stop'
  return sequence.outputTokens.length >= sequence.maxTokens ? 'length' : undefined
}
