// Which tokens are tried after a sequence's newest one, and whether trying is worth it: draft tokens, in the words of
// speculative decoding. Knows no graph. Invariant: drafts decide how long an answer takes, never what it says.
import { LONGEST_MATCH, lookUp } from '../../sampling/prompt-lookup.ts'
import type { Sequence } from '../../scheduler/sequence.ts'
import { EarlierAnswers } from './earlier-answers.ts'

/**
 * What a step with draft tokens takes more than one without, in steps: half of one where a processor multiplies bytes fast, a
 * whole one, perhaps, where it does not. What lies between loses little on either.
 */
const COST = 0.75
/** Steps that a sequence may have lost by drafts at most, and how many more with each that it does without. */
const CREDIT = 2
const CREDIT_A_STEP = 0.05
/** What earlier drafts have won counts no more than this. */
const MAX_BALANCE = 4

export class Drafts {
  readonly #count: number
  readonly #contextTokens: number
  readonly #earlier = new EarlierAnswers(LONGEST_MATCH)
  /** Steps that a sequence has won by its drafts, and may lose yet. */
  readonly #balances = new WeakMap<Sequence, number>()

  /** `count`: tokens of a draft; `contextTokens`: those that a row of the KV cache holds. */
  constructor(count: number, contextTokens: number) {
    this.#count = count
    this.#contextTokens = contextTokens
  }

  /** Tokens that may follow the sequence's own, where they are worth trying and have a place in its row; else undefined. */
  propose(sequence: Sequence): number[] | undefined {
    const { outputTokens, maxTokens, numComputedTokens } = sequence
    const isLast = outputTokens.length + 1 >= maxTokens
    if (isLast || numComputedTokens + 1 + this.#count > this.#contextTokens) return undefined
    const draft = this.#lookUp(sequence)
    const balance = this.#balances.get(sequence) ?? CREDIT
    if (!draft || balance > 0) return draft
    this.#balances.set(sequence, balance + CREDIT_A_STEP)
    return undefined
  }

  /** So many of the tokens that were proposed for the sequence were right. */
  noteAccepted(sequence: Sequence, accepted: number): void {
    const balance = this.#balances.get(sequence) ?? CREDIT
    this.#balances.set(sequence, Math.min(MAX_BALANCE, balance + accepted - COST))
  }

  /** To be told of every sequence that has ended. */
  noteEnd(sequence: Sequence): void {
    if (sequence.outputTokens.length > 0) this.#earlier.add(sequence)
  }

  /** Forgets what was said with `digest`. */
  forget(digest: string): void {
    this.#earlier.forget(digest)
  }

  /** In the sequence's own text first, which suits it best. */
  #lookUp(sequence: Sequence): number[] | undefined {
    const { promptTokens, outputTokens } = sequence
    const ending = [...promptTokens.subarray(-LONGEST_MATCH), ...outputTokens.slice(-LONGEST_MATCH)]
    const newest = ending.slice(-LONGEST_MATCH)
    return lookUp(promptTokens, outputTokens, this.#count) ?? lookUp(this.#earlier.of(sequence), newest, this.#count)
  }
}
