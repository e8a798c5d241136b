// Which tokens are tried after a sequence's newest one, and whether trying is worth it: draft tokens, in the words of
// speculative decoding. Knows no graph. Invariant: drafts decide how long an answer takes, never what it says.
import { type Found, LONGEST_MATCH, lookUp } from '../../sampling/prompt-lookup.ts'
import type { Sequence } from '../../scheduler/sequence.ts'
import { EarlierAnswers } from './earlier-answers.ts'

/**
 * What a step with draft tokens takes more than one without, in steps: half of one where a processor multiplies bytes fast, a
 * whole one, perhaps, where it does not. What lies between loses little on either.
 */
const COST = 0.75
/**
 * How many draft tokens are right, by how many of the newest tokens were found before them: a little less than of the answers
 * that `bench/drafts.ts` asks for, at a temperature of 0.7 and up to four tried.
 */
const RIGHT_AFTER: Readonly<Record<number, number>> = { 2: 0.5, 3: 0.7, 4: 1.2, 5: 2, 6: 3 }
/** Kept of a prompt before its answer, to find the answer's beginning by: chat templates let more than these end alike. */
const KEPT_PROMPT_TOKENS = 3
/** What of a sequence's drafts still counts after one more of them, and after a step without one that could have been. */
const KEPT_A_DRAFT = 0.9
const KEPT_A_STEP = 0.995

/** Of the drafts of a sequence that were tried: how many, old ones counted for less than one, and how many tokens were right. */
interface Tried {
  readonly drafts: number
  readonly right: number
}

const NOTHING_TRIED: Tried = { drafts: 0, right: 0 }

export class Drafts {
  readonly #count: number
  readonly #contextTokens: number
  readonly #earlier = new EarlierAnswers(KEPT_PROMPT_TOKENS)
  readonly #tried = new WeakMap<Sequence, Tried>()

  /** `count`: tokens of a draft; `contextTokens`: those that a row of the KV cache holds. */
  constructor(count: number, contextTokens: number) {
    this.#count = count
    this.#contextTokens = contextTokens
  }

  /** Tokens that may follow the sequence's own, where they are worth trying and have a place in its row; else undefined. */
  propose(sequence: Sequence): readonly number[] | undefined {
    const { outputTokens, maxTokens, numComputedTokens } = sequence
    const isLast = outputTokens.length + 1 >= maxTokens
    if (isLast || numComputedTokens + 1 + this.#count > this.#contextTokens) return undefined
    const found = this.#lookUp(sequence)
    if (!found) return undefined
    const { drafts, right } = this.#triedOf(sequence)
    // As if one draft before had been as right as those of other sequences are.
    if ((RIGHT_AFTER[found.matched]! + right) / (1 + drafts) > COST) return found.tokens
    this.#tried.set(sequence, { drafts: KEPT_A_STEP * drafts, right: KEPT_A_STEP * right })
    return undefined
  }

  /** So many of the tokens that were proposed for the sequence were right. */
  noteAccepted(sequence: Sequence, accepted: number): void {
    const { drafts, right } = this.#triedOf(sequence)
    this.#tried.set(sequence, { drafts: KEPT_A_DRAFT * drafts + 1, right: KEPT_A_DRAFT * right + accepted })
  }

  /** To be told of every sequence that has ended. */
  noteEnd(sequence: Sequence): void {
    if (sequence.outputTokens.length > 0) this.#earlier.add(sequence)
  }

  /** Forgets what was said with `digest`. */
  forget(digest: string): void {
    this.#earlier.forget(digest)
  }

  #triedOf(sequence: Sequence): Tried {
    return this.#tried.get(sequence) ?? NOTHING_TRIED
  }

  /** Where more of the newest tokens stand; in the sequence's own text first, which suits it best. */
  #lookUp(sequence: Sequence): Found | undefined {
    const { promptTokens, outputTokens } = sequence
    const ending = [...promptTokens.subarray(-LONGEST_MATCH), ...outputTokens.slice(-LONGEST_MATCH)]
    const own = lookUp(promptTokens, outputTokens, this.#count)
    if (own?.matched === LONGEST_MATCH) return own
    const earlier = lookUp(this.#earlier.of(sequence), ending.slice(-LONGEST_MATCH), this.#count)
    return earlier && earlier.matched > (own?.matched ?? 0) ? earlier : own
  }
}
