// Matches the regular expressions that PEFT configurations hold, in time linear in the text: they come from strangers.
// Knows the subset that such files use (no look-around, no back-references). Invariant: no pattern can make it hang.
import { AdapterError, quote } from './errors.ts'

/** Real patterns (Unsloth's are the longest) stay below 1,000 characters. */
const MAX_PATTERN_CHARS = 20_000
/** Of all patterns of one field together: what one match may cost at each character. */
const MAX_STATES = 5_000
/** Of all matches of one field's patterns together: states that are visited, some seconds of them. */
const MAX_VISITS = 10_000_000
const MAX_REPEAT = 1000
const MAX_DEPTH = 100

/** What one step of the machine tests: a character, a position, or nothing. */
type Test = (text: string, at: number) => boolean
type Node =
  | { readonly kind: 'char'; readonly test: Test }
  | { readonly kind: 'assert'; readonly test: Test }
  | { readonly kind: 'sequence' | 'choice'; readonly items: readonly Node[] }
  | { readonly kind: 'repeat'; readonly item: Node; readonly min: number; readonly max: number }

type State =
  | { readonly kind: 'char' | 'assert'; readonly test: Test; readonly next: number }
  | { readonly kind: 'split'; readonly next: readonly number[] }
  | { readonly kind: 'end' }
/** The end is state 0. */
interface Machine {
  readonly states: readonly State[]
  readonly start: number
}

const isWord = (char: string | undefined) => char !== undefined && /\w/.test(char)
const CLASSES: Readonly<Record<string, (char: string) => boolean>> = {
  d: (char) => /[0-9]/.test(char),
  D: (char) => !/[0-9]/.test(char),
  w: (char) => isWord(char),
  W: (char) => !isWord(char),
  s: (char) => /\s/.test(char),
  S: (char) => !/\s/.test(char),
}

/**
 * A function that says whether `pattern` (Python syntax) matches a whole text, as re.fullmatch does. Alternatives and lazy
 * quantifiers don't matter for a full match. Throws AdapterError `unsupported` for syntax outside the subset.
 */
export function fullMatcher(pattern: string, where: string): (text: string) => boolean {
  return fullMatchers([pattern], where)[0]!
}

/** As `fullMatcher`, for all patterns of one field, which share their limits. A match throws AdapterError `too_large` beyond them. */
export function fullMatchers(patterns: readonly string[], where: string): ((text: string) => boolean)[] {
  let statesLeft = MAX_STATES
  let visitsLeft = MAX_VISITS
  const onVisits = (visits: number) => {
    visitsLeft -= visits
    if (visitsLeft < 0) throw tooComplex(where)
  }
  return patterns.map((pattern) => {
    const machine = compile(new Parser(pattern, where).parse(), where, statesLeft)
    statesLeft -= machine.states.length
    return (text) => runs(machine, text, onVisits)
  })
}

function tooComplex(where: string): AdapterError {
  return new AdapterError('too_large', `${where} has patterns that are too complex; list the module names instead.`)
}

class Parser {
  private readonly pattern: string
  private readonly where: string
  private at = 0
  private depth = 0

  constructor(pattern: string, where: string) {
    if (pattern.length > MAX_PATTERN_CHARS) {
      throw new AdapterError(
        'too_large',
        `${where} has a pattern of ${pattern.length} characters; list the module names instead.`,
      )
    }
    this.pattern = pattern
    this.where = where
  }

  parse(): Node {
    const node = this.choice()
    if (this.at < this.pattern.length) throw this.bad('an unmatched )')
    return node
  }

  private bad(what: string): AdapterError {
    return new AdapterError(
      'unsupported',
      `${this.where}: the pattern ${quote(this.pattern)} has ${what}; list the module names instead.`,
    )
  }

  private eat(text: string): boolean {
    if (!this.pattern.startsWith(text, this.at)) return false
    this.at += text.length
    return true
  }

  private choice(): Node {
    if (++this.depth > MAX_DEPTH) throw this.bad('too many nested groups')
    const items = [this.sequence()]
    while (this.eat('|')) items.push(this.sequence())
    this.depth--
    return items.length === 1 ? items[0]! : { kind: 'choice', items }
  }

  private sequence(): Node {
    const items: Node[] = []
    while (this.at < this.pattern.length && !'|)'.includes(this.pattern[this.at]!)) items.push(this.quantified())
    return { kind: 'sequence', items }
  }

  private quantified(): Node {
    const item = this.atom()
    const bounds = this.quantifier()
    if (bounds === undefined) return item
    this.eat('?')
    // `a*+` takes all it can for good in Python 3.11 and later, which no automaton does; `a**` is none of Python's.
    if (this.quantifier() !== undefined) throw this.bad('a quantifier after another one')
    return { kind: 'repeat', item, ...bounds }
  }

  private quantifier(): { min: number; max: number } | undefined {
    if (this.eat('*')) return { min: 0, max: Number.POSITIVE_INFINITY }
    if (this.eat('+')) return { min: 1, max: Number.POSITIVE_INFINITY }
    if (this.eat('?')) return { min: 0, max: 1 }
    const braces = /^\{(\d*)(,?)(\d*)\}/.exec(this.pattern.slice(this.at, this.at + 20))
    if (braces === null || braces[0] === '{}') return undefined
    this.at += braces[0].length
    const min = Number(braces[1] || 0)
    const max = braces[2] === '' ? min : braces[3] === '' ? Number.POSITIVE_INFINITY : Number(braces[3])
    if (min > MAX_REPEAT || (max > MAX_REPEAT && max !== Number.POSITIVE_INFINITY)) throw this.bad('a huge repetition')
    return { min, max }
  }

  private atom(): Node {
    if (this.eat('(')) {
      if (this.eat('?') && !this.eat(':') && !this.eat('P<')) throw this.bad('a look-around or flag')
      if (this.pattern.slice(this.at - 2, this.at) === 'P<')
        this.at = this.pattern.indexOf('>', this.at) + 1 || this.pattern.length
      const node = this.choice()
      if (!this.eat(')')) throw this.bad('an unclosed (')
      return node
    }
    if (this.eat('[')) return { kind: 'char', test: this.set() }
    if (this.eat('.')) return char((c) => c !== '\n')
    if (this.eat('^')) return { kind: 'assert', test: (_text, at) => at === 0 }
    if (this.eat('$')) return { kind: 'assert', test: (text, at) => at === text.length }
    if (this.eat('\\')) return this.escape()
    const literal = this.pattern[this.at++]!
    if ('*+?'.includes(literal)) throw this.bad(`nothing for ${literal} to repeat`)
    return char((c) => c === literal)
  }

  private escape(): Node {
    const letter = this.pattern[this.at++]
    if (letter === undefined) throw this.bad('a lone backslash')
    if (letter === 'b') return { kind: 'assert', test: (text, at) => isWord(text[at - 1]) !== isWord(text[at]) }
    if (letter === 'A') return { kind: 'assert', test: (_text, at) => at === 0 }
    if (letter === 'Z') return { kind: 'assert', test: (text, at) => at === text.length }
    const named = CLASSES[letter]
    if (named !== undefined) return char(named)
    if (/[A-Za-z0-9]/.test(letter)) throw this.bad(`the escape \\${letter}`)
    return char((c) => c === letter)
  }

  private set(): Test {
    const negated = this.eat('^')
    const tests: ((char: string) => boolean)[] = []
    for (let first = true; first || !this.eat(']'); first = false) {
      const low = this.setItem()
      if (typeof low === 'function' || this.pattern[this.at] !== '-' || this.pattern[this.at + 1] === ']') {
        tests.push(typeof low === 'function' ? low : (c) => c === low)
        continue
      }
      this.at++
      const high = this.setItem()
      if (typeof high === 'function') throw this.bad('a bad range')
      tests.push((c) => low <= c && c <= high)
    }
    return (text, at) => at < text.length && tests.some((test) => test(text[at]!)) !== negated
  }

  private setItem(): string | ((char: string) => boolean) {
    const item = this.pattern[this.at++]
    if (item === undefined) throw this.bad('an unclosed [')
    if (item !== '\\') return item
    const letter = this.pattern[this.at++]
    if (letter === undefined) throw this.bad('an unclosed [')
    const named = CLASSES[letter]
    if (named !== undefined) return named
    if (/[A-Za-z0-9]/.test(letter)) throw this.bad(`the escape \\${letter}`)
    return letter
  }
}

function char(test: (char: string) => boolean): Node {
  return { kind: 'char', test: (text, at) => at < text.length && test(text[at]!) }
}

/** Thompson's construction, from the end backwards. */
function compile(root: Node, where: string, maxStates: number): Machine {
  const states: State[] = [{ kind: 'end' }]
  const add = (state: State): number => {
    if (states.length >= maxStates) throw tooComplex(where)
    return states.push(state) - 1
  }
  // Counted apart from the states: a repeated empty group makes none, however often it is visited.
  let visits = 0
  const build = (node: Node, next: number): number => {
    if (++visits > 4 * MAX_STATES) throw tooComplex(where)
    switch (node.kind) {
      case 'char':
      case 'assert':
        return add({ kind: node.kind, test: node.test, next })
      case 'sequence':
        return node.items.reduceRight((after, item) => build(item, after), next)
      case 'choice':
        return add({ kind: 'split', next: node.items.map((item) => build(item, next)) })
      case 'repeat': {
        let after = next
        if (node.max === Number.POSITIVE_INFINITY) {
          const ways = [next]
          after = add({ kind: 'split', next: ways })
          ways.push(build(node.item, after))
        } else {
          for (let i = node.min; i < node.max; i++)
            after = add({ kind: 'split', next: [build(node.item, after), next] })
        }
        for (let i = 0; i < node.min; i++) after = build(node.item, after)
        return after
      }
    }
  }
  return { states, start: build(root, 0) }
}

function runs({ states, start }: Machine, text: string, onVisits: (visits: number) => void): boolean {
  /** By state: one more than the place in the text where it was reached last. */
  const reached = new Int32Array(states.length)
  const follow = (waiting: number[], at: number): number[] => {
    const live: number[] = []
    for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
      if (reached[id] === at + 1) continue
      reached[id] = at + 1
      live.push(id)
      const state = states[id]!
      if (state.kind === 'split') waiting.push(...state.next)
      else if (state.kind === 'assert' && state.test(text, at)) waiting.push(state.next)
    }
    onVisits(live.length)
    return live
  }
  let current = follow([start], 0)
  for (let at = 0; at < text.length && current.length > 0; at++) {
    const next: number[] = []
    for (const id of current) {
      const state = states[id]!
      if (state.kind === 'char' && state.test(text, at)) next.push(state.next)
    }
    current = follow(next, at + 1)
  }
  return current.includes(0)
}
