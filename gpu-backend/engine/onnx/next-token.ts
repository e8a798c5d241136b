// A sequence's next token, held to the sequence's response_format where it has one.
// Knows no rows and no graph. Invariant: a grammar has seen every token of its sequence, and no other.
import { type GrammarMatcher, Grammars } from '../../grammar/grammar.ts'
import type { TokenTrie } from '../../grammar/token-trie.ts'
import { type Sampled, sample } from '../../sampling/sampler.ts'
import type { Sequence } from '../../scheduler/sequence.ts'

export class NextToken {
  readonly #grammars: Grammars
  /** What the texts of sequences with a response_format are held to. */
  readonly #matchers = new WeakMap<Sequence, GrammarMatcher>()

  /** `vocabulary`: for grammars; undefined where the tokenizer is of a kind that none can be put on. */
  constructor(vocabulary: TokenTrie | undefined) {
    this.#grammars = new Grammars(vocabulary)
  }

  /**
   * The token that follows the sequence's own; `logits` [vocab] f32 are changed in place, `peak` is the largest, where known.
   * @throws BackendError as `sample`, or where a text cannot be held to the format
   */
  choose(sequence: Sequence, logits: Float32Array, peak: number | undefined): Sampled {
    const { sampling, seed, promptTokens, outputTokens, endTokenIds } = sequence
    const grammar = this.#matcher(sequence)
    const chosen = sample(logits, { sampling, seed, promptTokens, outputTokens, endTokenIds, grammar, peak })
    grammar?.accept(chosen.token)
    return chosen
  }

  #matcher(sequence: Sequence): GrammarMatcher | undefined {
    const known = this.#matchers.get(sequence)
    if (known) return known
    const matcher = this.#grammars.matcher(sequence.sampling.response_format, sequence.endTokenIds)
    if (matcher) this.#matchers.set(sequence, matcher)
    return matcher
  }
}
