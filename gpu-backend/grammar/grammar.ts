// Holds generated text to a grammar: which tokens may come next, and what they lead to. Works on any vocabulary of bytes.
// The masks are found when they are first needed, in one walk over the vocabulary's trie, so that compiling costs next to
// nothing and the running batch does not wait; the same state has the same mask for every sequence.
import type { BackendError } from '../errors.ts'
import type { SamplingParams } from '../protocol.ts'
import { type CompactAutomaton, END } from './automaton.ts'
import { anyJsonObject, compileJsonSchema, type Rules } from './json-schema.ts'
import type { MarkedText } from './marked-text.ts'
import { type Reading, readingKey, readingsKey, type Stack } from './reading.ts'
import { formatRefused } from './schema-keywords.ts'
import { keepOnly } from './token-mask.ts'
import type { TokenTrie } from './token-trie.ts'

/** `instead`: what the text may be besides. */
export type ResponseFormat = NonNullable<SamplingParams['response_format']> & { readonly instead?: MarkedText }

/** Compiled grammars that are kept for the next request with the same format. */
const MAX_GRAMMARS = 64
/** What all that are kept take, and states and masks of one that is at work. */
const MAX_CACHE_BYTES = 128 * 2 ** 20
const MAX_GRAMMAR_BYTES = 32 * 2 ** 20
/**
 * Ways to read the text so far, and steps for one mask: beyond them a grammar is ambiguous on purpose. So many steps take some
 * 70 ms, while the whole batch waits.
 */
const MAX_READINGS = 20_000
const MAX_WORK = 200_000
/**
 * Steps for all masks of one sequence, and what each of its tokens adds: a text that reaches what none has reached before with
 * every token would hold the batch up each time. Sensible schemas take less than half, and masks that are known take nothing.
 */
const SEQUENCE_WORK = 500_000
const WORK_PER_TOKEN = 5000
const BYTES_PER_STATE = 4096
/** Beyond the first few of a state. */
const BYTES_PER_READING = 64
const BYTES_PER_CHAR = 2

/** All ways to read the text so far, and what is known of them. */
interface State {
  readonly readings: readonly Reading[]
  /** The text may end here. */
  readonly mayEnd: boolean
  /** By byte: the next state, null where the grammar has none, undefined where nobody has asked. */
  readonly next: (State | null | undefined)[]
  /** The tokens that may come next, see token-mask.ts. */
  mask: Uint32Array | undefined
}

/** @throws BackendError `bad_request` where the schema is not one or has what cannot be held to */
export function compileResponseFormat(format: ResponseFormat): Rules | undefined {
  if (format.type === 'text') return undefined
  if (format.type === 'json_schema') return compileJsonSchema(format.json_schema.schema, format.instead)
  return format.instead ? compileJsonSchema({ type: 'object' }, format.instead) : anyJsonObject()
}

/** The grammars of a vocabulary. */
export class Grammars {
  readonly #trie: TokenTrie | undefined
  /** By response format, least recently used first. */
  readonly #grammars = new Map<string, Grammar>()

  constructor(trie: TokenTrie | undefined) {
    this.#trie = trie
  }

  /**
   * Finds the first mask, too: what is refused there is refused before an answer has begun and others wait for it.
   * @throws BackendError `bad_request` where a text cannot be held to the format
   */
  check(format: ResponseFormat | undefined): void {
    this.matcher(format, [])?.mask(new Float32Array(this.#trie?.textStart.length ?? 0))
  }

  /** For one sequence of the format; undefined where anything may be said. @throws BackendError as compileResponseFormat */
  matcher(format: ResponseFormat | undefined, endTokenIds: readonly number[]): GrammarMatcher | undefined {
    if (!format || format.type === 'text') return undefined
    const key = JSON.stringify(format)
    const grammar = this.#grammars.get(key) ?? this.#compile(format)
    this.#grammars.delete(key)
    this.#grammars.set(key, grammar)
    for (const old of this.#grammars.keys()) {
      if (this.#grammars.size <= MAX_GRAMMARS && this.keptBytes <= MAX_CACHE_BYTES) break
      this.#grammars.delete(old)
    }
    return new GrammarMatcher(grammar, endTokenIds)
  }

  /** What the grammars that are kept take; a sequence that runs has its own besides, where that is kept no longer. */
  get keptBytes(): number {
    return this.#grammars.entries().reduce((sum, [key, { bytes }]) => sum + BYTES_PER_CHAR * key.length + bytes, 0)
  }

  #compile(format: ResponseFormat): Grammar {
    const rules = compileResponseFormat(format)
    if (!this.#trie || !rules) {
      throw formatRefused(`This base model's tokenizer cannot be held to a "${format.type}" format.`)
    }
    return new Grammar(rules, this.#trie)
  }
}

/** One grammar over one vocabulary: its states, found as texts reach them. */
class Grammar {
  readonly trie: TokenTrie
  readonly #automaton: CompactAutomaton
  readonly #root: number
  #states = new Map<string, State>()
  #stacks = new Map<string, Stack>()
  #nextStackId = 1
  #masks = 0
  /** Of all states together. */
  #readings = 0
  /** Nodes looked at, ever. */
  work = 0
  /** What they may become for the state or the mask at hand. */
  #maxWork = MAX_WORK

  constructor({ automaton, root }: Rules, trie: TokenTrie) {
    this.#automaton = automaton
    this.#root = root
    this.trie = trie
  }

  get bytes(): number {
    return this.#automaton.bytes + this.#foundBytes
  }

  /** Of what texts have reached so far. */
  get #foundBytes(): number {
    return (
      this.#states.size * BYTES_PER_STATE +
      this.#readings * BYTES_PER_READING +
      this.#masks * (this.trie.textStart.length / 8)
    )
  }

  /** Lets go of what was found; sequences that run keep their own states. */
  #forget(): void {
    this.#states = new Map()
    this.#stacks = new Map()
    this.#masks = 0
    this.#readings = 0
  }

  start(): State {
    this.#maxWork = this.work + MAX_WORK
    return this.#state([{ node: this.#root, stack: undefined }])
  }

  /** @throws BackendError `bad_request` where the grammar can be read in too many ways */
  step(state: State, byte: number): State | null {
    const known = state.next[byte]
    if (known !== undefined) return known
    this.work += state.readings.length
    const targets: Reading[] = []
    const { starts, numbers } = this.#automaton.ranges
    for (const { node, stack } of state.readings) {
      for (let i = starts[node]!; i < starts[node + 1]!; i += 3) {
        if (byte >= numbers[i]! && byte <= numbers[i + 1]!) targets.push({ node: numbers[i + 2]!, stack })
      }
    }
    const next = targets.length === 0 ? null : this.#state(targets)
    state.next[byte] = next
    return next
  }

  /** The tokens that may come next, without the ends. */
  mask(state: State): Uint32Array {
    if (state.mask) return state.mask
    if (this.#foundBytes > MAX_GRAMMAR_BYTES) this.#forget()
    this.#maxWork = this.work + MAX_WORK
    const { bytes, depths, ends, firstToken, tokens, textStart, maxDepth } = this.trie
    const mask = new Uint32Array(Math.ceil((textStart.length - 1) / 32))
    const path: State[] = new Array(maxDepth + 1).fill(state)
    for (let node = 0; node < bytes.length; ) {
      const depth = depths[node]!
      const next = this.step(path[depth]!, bytes[node]!)
      if (!next) {
        node = ends[node]!
        continue
      }
      path[depth + 1] = next
      for (let i = firstToken[node]!; i < firstToken[node + 1]!; i++) mask[tokens[i]! >> 5]! |= 1 << (tokens[i]! & 31)
      node++
    }
    state.mask = mask
    this.#masks++
    return mask
  }

  #state(kernel: readonly Reading[]): State {
    const key = readingsKey(kernel)
    const known = this.#states.get(key)
    if (known) return known
    const { readings, mayEnd } = this.#closure(kernel)
    // Most bytes lead nowhere: known from the start, they cost a mask nothing, however many readings there are.
    const next: State['next'] = new Array(256).fill(null)
    const { starts, numbers } = this.#automaton.ranges
    for (const { node } of readings) {
      for (let i = starts[node]!; i < starts[node + 1]!; i += 3) next.fill(undefined, numbers[i], numbers[i + 1]! + 1)
    }
    const state: State = { readings, mayEnd, next, mask: undefined }
    this.#states.set(key, state)
    this.#readings += readings.length
    return state
  }

  /** Follows jumps, calls and returns up to where a byte is read. */
  #closure(kernel: readonly Reading[]): { readings: Reading[]; mayEnd: boolean } {
    const { ranges, jumps, calls } = this.#automaton
    const seen = new Set<string>()
    const readings: Reading[] = []
    const open = [...kernel]
    let mayEnd = false
    for (let reading = open.pop(); reading; reading = open.pop()) {
      const { node, stack } = reading
      const key = readingKey(reading)
      if (seen.has(key)) continue
      seen.add(key)
      if (seen.size > MAX_READINGS || ++this.work > this.#maxWork) throw tooAmbiguous()
      if (node === END) {
        if (stack) open.push({ node: stack.returnTo, stack: stack.below })
        else mayEnd = true
        continue
      }
      for (let i = jumps.starts[node]!; i < jumps.starts[node + 1]!; i++) open.push({ node: jumps.numbers[i]!, stack })
      for (let i = calls.starts[node]!; i < calls.starts[node + 1]!; i += 2) {
        open.push({ node: calls.numbers[i]!, stack: this.#push(calls.numbers[i + 1]!, stack) })
      }
      if (ranges.starts[node]! < ranges.starts[node + 1]!) readings.push(reading)
    }
    return { readings, mayEnd }
  }

  #push(returnTo: number, below: Stack | undefined): Stack {
    const key = `${returnTo} ${below?.id ?? 0}`
    let stack = this.#stacks.get(key)
    if (!stack) {
      stack = { id: this.#nextStackId++, returnTo, below }
      this.#stacks.set(key, stack)
    }
    return stack
  }
}

function tooAmbiguous(): BackendError {
  return formatRefused('The response_format schema is too ambiguous: use fewer anyOf or repetitions that start alike.')
}

/** How far one sequence is in its grammar. */
export class GrammarMatcher {
  readonly #grammar: Grammar
  readonly #endTokenIds: readonly number[]
  #state: State
  #workLeft = SEQUENCE_WORK

  constructor(grammar: Grammar, endTokenIds: readonly number[]) {
    this.#grammar = grammar
    this.#endTokenIds = endTokenIds
    this.#state = grammar.start()
  }

  /** Nothing may follow but the end. */
  get isComplete(): boolean {
    return this.#state.mayEnd && this.#state.readings.length === 0
  }

  /**
   * Takes out of `logits` [vocab] what may not come next.
   * @throws BackendError `bad_request` where the vocabulary has no token to go on with, or finding out takes too much work
   */
  mask(logits: Float32Array): void {
    const { work } = this.#grammar
    const mask = this.#grammar.mask(this.#state)
    this.#workLeft -= this.#grammar.work - work
    if (this.#workLeft < 0) throw tooAmbiguous()
    const ends = this.#endTokenIds.filter((id) => id < logits.length).map((id) => [id, logits[id]!] as const)
    keepOnly(logits, mask)
    // A token that ends the sequence is no part of its text, even where it would fit.
    for (const [id, logit] of ends) logits[id] = this.#state.mayEnd ? logit : Number.NEGATIVE_INFINITY
    if (logits.some((logit) => logit !== Number.NEGATIVE_INFINITY)) return
    throw formatRefused(
      "This base model's vocabulary has no token to go on with in the response_format: use another schema.",
    )
  }

  /** Moves on by a token that the mask let through. */
  accept(token: number): void {
    this.#workLeft += WORK_PER_TOKEN
    if (this.#endTokenIds.includes(token)) return
    const { text, textStart } = this.#grammar.trie
    for (let at = textStart[token]!; at < textStart[token + 1]!; at++) {
      const next = this.#grammar.step(this.#state, text[at]!)
      if (!next) throw new Error(`Token ${token} does not fit the grammar.`)
      this.#state = next
    }
  }
}
