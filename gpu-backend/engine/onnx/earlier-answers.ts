// What answers with a delta have said, for the next answer with it: a customer's model says the same again and again (suffix
// decoding, arXiv 2411.04975, is the same thought). A tenant's own, as prompts that are kept are: another tenant's answers
// would be told from how fast a guess is right.
import type { Sequence } from '../../scheduler/sequence.ts'

/** Tokens that are kept of a tenant's answers with one delta: the newest. */
const MAX_TOKENS = 4096
/** Tenants and deltas that something is kept of: 4 MB at most. */
const MAX_TEXTS = 256

export class EarlierAnswers {
  /** By tenant and delta, least recently used first: ends of prompts and answers, one after another. */
  readonly #texts = new Map<string, Int32Array>()
  readonly #promptTokens: number

  /** `promptTokens`: of each prompt so many of the last are kept before its answer, which is found by them. */
  constructor(promptTokens: number) {
    this.#promptTokens = promptTokens
  }

  /** What has been said before with the sequence's delta. */
  of(sequence: Sequence): Int32Array {
    const name = nameOf(sequence)
    const text = this.#texts.get(name)
    if (!text) return new Int32Array()
    this.#texts.delete(name)
    this.#texts.set(name, text)
    return text
  }

  /** Keeps the sequence's answer, which is over. */
  add(sequence: Sequence): void {
    const { promptTokens, outputTokens } = sequence
    const ending = promptTokens.subarray(-this.#promptTokens)
    const all = [...this.of(sequence), ...ending, ...outputTokens]
    this.#texts.set(nameOf(sequence), Int32Array.from(all.slice(-MAX_TOKENS)))
    if (this.#texts.size > MAX_TEXTS) this.#texts.delete(this.#texts.keys().next().value!)
  }

  /** Forgets what was said with `digest`. */
  forget(digest: string): void {
    for (const name of [...this.#texts.keys()]) if (name.endsWith(`\n${digest}`)) this.#texts.delete(name)
  }
}

function nameOf({ tenant, digest }: Sequence): string {
  return `${JSON.stringify(tenant)}\n${digest}`
}
