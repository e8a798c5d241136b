// The next tokens of a step's sequences, each held to its response_format where it has one.
// Knows no scheduling, and not where logits come from. Invariant: a grammar has seen every token of its sequence, and no other.
import { type GrammarMatcher, Grammars } from '../../grammar/grammar.ts'
import type { TokenTrie } from '../../grammar/token-trie.ts'
import {
  choose,
  constrain,
  drawingTemperature,
  ownLogprobs,
  type RowLikelihoods,
  type SampleContext,
  type Sampled,
} from '../../sampling/sampler.ts'
import type { Sequence } from '../../scheduler/sequence.ts'
import { type RowSoftmax, SOFTMAX_ROWS } from './row-softmax.ts'

/** What became of one sequence; the others do not notice its error. */
export type Attempt<T> = { readonly value: T } | { readonly error: unknown }

export class NextToken {
  readonly #grammars: Grammars
  readonly #softmax: RowSoftmax
  /** What the texts of sequences with a response_format are held to. */
  readonly #matchers = new WeakMap<Sequence, GrammarMatcher>()

  /** `vocabulary`: for grammars; undefined where the tokenizer is of a kind that none can be put on. */
  constructor(vocabulary: TokenTrie | undefined, softmax: RowSoftmax) {
    this.#grammars = new Grammars(vocabulary)
    this.#softmax = softmax
  }

  /**
   * The token that follows each sequence's own, or the BackendError of `constrain` and `choose`, or where a text cannot be held
   * to its format. `logits` [sequences, vocab] f32 are changed in place; `peaks` [sequences] are the largest, where known.
   */
  chooseEach(sequences: readonly Sequence[], logits: Float32Array, peaks?: Float32Array): Attempt<Sampled>[] {
    const vocabSize = logits.length / sequences.length
    const chosen: Attempt<Sampled>[] = []
    for (let first = 0; first < sequences.length; first += SOFTMAX_ROWS) {
      const some = sequences.slice(first, first + SOFTMAX_ROWS)
      const theirs = logits.subarray(first * vocabSize, (first + some.length) * vocabSize)
      chosen.push(...this.#chooseSome(some, theirs, peaks?.subarray(first)))
    }
    return chosen
  }

  /** As `chooseEach`, for no more than the softmax takes. */
  #chooseSome(sequences: readonly Sequence[], logits: Float32Array, peaks?: Float32Array): Attempt<Sampled>[] {
    const vocabSize = logits.length / sequences.length
    const rowOf = (row: number) => logits.subarray(row * vocabSize, (row + 1) * vocabSize)
    const asked = sequences.map(({ sampling }) => (sampling.logprobs === undefined ? undefined : 1))
    const owns = this.#softmax.run(logits, asked, 'own').map((likelihoods, row) => {
      return likelihoods && ownLogprobs(likelihoods, sequences[row]!.sampling.logprobs!)
    })
    const contexts = sequences.map((sequence, row) => {
      return attempt(() => this.#constrain(sequence, rowOf(row), peaks?.[row]))
    })
    const temperatures = sequences.map(({ sampling }) => drawingTemperature(sampling))
    const likelihoods = this.#softmax.run(logits, temperatures, 'constrained')
    return contexts.map((context, row) => {
      if ('error' in context) return context
      return attempt(() => this.#choose(rowOf(row), context.value, { own: owns[row], likelihoods: likelihoods[row] }))
    })
  }

  #constrain(sequence: Sequence, logits: Float32Array, peak: number | undefined): SampleContext {
    const { sampling, seed, promptTokens, outputTokens, endTokenIds } = sequence
    const grammar = this.#matcher(sequence)
    const context = { sampling, seed, promptTokens, outputTokens, endTokenIds, grammar, peak }
    constrain(logits, context)
    return context
  }

  #choose(logits: Float32Array, context: SampleContext, likelihoods: RowLikelihoods): Sampled {
    const chosen = choose(logits, context, likelihoods)
    context.grammar?.accept(chosen.token)
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

function attempt<T>(work: () => T): Attempt<T> {
  try {
    return { value: work() }
  } catch (error) {
    return { error }
  }
}
