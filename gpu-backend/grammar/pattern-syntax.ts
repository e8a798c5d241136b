// A regular expression of JSON Schema (ECMA-262's, by code points) as a tree. Knows no grammars.
// Invariant: what it cannot say exactly, as what looks ahead or back, is refused.

/** Code points, as ranges in their order. */
export type CodePoints = readonly (readonly [number, number])[]

export type Expression =
  | { readonly kind: 'one'; readonly of: CodePoints }
  | { readonly kind: 'all'; readonly of: readonly Expression[] }
  | { readonly kind: 'any'; readonly of: readonly Expression[] }
  | { readonly kind: 'repeat'; readonly of: Expression; readonly least: number; readonly most: number | undefined }

/** What the pattern has that is not supported. */
export class PatternError extends Error {}

const LAST = 0x10ffff
export const EVERY: CodePoints = [[0, LAST]]
const DIGIT: CodePoints = [[0x30, 0x39]]
const WORD: CodePoints = [...DIGIT, [0x41, 0x5a], [0x5f, 0x5f], [0x61, 0x7a]]
const SPACE: CodePoints = '9-d 20-20 a0-a0 1680-1680 2000-200a 2028-2029 202f-202f 205f-205f 3000-3000 feff-feff'
  .split(' ')
  .map((range) => range.split('-').map((hex) => Number.parseInt(hex, 16)) as [number, number])
const LINE_END: CodePoints = [
  [0xa, 0xa],
  [0xd, 0xd],
  [0x2028, 0x2029],
]
const CLASSES: Readonly<Record<string, CodePoints>> = {
  d: DIGIT,
  w: WORD,
  s: SPACE,
  D: without(DIGIT),
  W: without(WORD),
  S: without(SPACE),
}
const CONTROLS: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13, '0': 0 }
const MAX_PATTERN_CHARS = 2000
const MAX_COUNT = 1000
/** What a pattern may begin or end with that does not say so by ^ or $. */
const ANYTHING: Expression = { kind: 'repeat', of: { kind: 'one', of: EVERY }, least: 0, most: undefined }

/** The whole texts in which the pattern is found. @throws PatternError */
export function parsePattern(pattern: string): Expression {
  if (pattern.length > MAX_PATTERN_CHARS) throw new PatternError(`more than ${MAX_PATTERN_CHARS} characters`)
  const parser = new Parser([...pattern])
  const alternatives = parser.alternatives(true)
  if (!parser.isAtEnd) throw new PatternError('a ")" that closes nothing')
  return alternatives
}

/** All other code points. */
function without(points: CodePoints): CodePoints {
  let from = 0
  const rest: [number, number][] = []
  for (const [low, high] of [...points].sort(([a], [b]) => a - b)) {
    if (low > from) rest.push([from, low - 1])
    from = Math.max(from, high + 1)
  }
  return from > LAST ? rest : [...rest, [from, LAST]]
}

class Parser {
  readonly #characters: readonly string[]
  #at = 0

  constructor(characters: readonly string[]) {
    this.#characters = characters
  }

  get isAtEnd(): boolean {
    return this.#at === this.#characters.length
  }

  /** `isOutermost`: they may begin and end with anything, unless ^ and $ say otherwise. */
  alternatives(isOutermost: boolean): Expression {
    const of = [this.#sequence(isOutermost)]
    while (this.#skip('|')) of.push(this.#sequence(isOutermost))
    return of.length === 1 ? of[0]! : { kind: 'any', of }
  }

  #sequence(isOutermost: boolean): Expression {
    const of: Expression[] = isOutermost && !this.#skip('^') ? [ANYTHING] : []
    while (!this.isAtEnd && !'|)'.includes(this.#peek())) {
      if (this.#skip('$')) {
        if (!isOutermost || !(this.isAtEnd || this.#peek() === '|')) throw new PatternError('a "$" before its end')
        return { kind: 'all', of }
      }
      of.push(this.#repeated(this.#atom()))
    }
    return { kind: 'all', of: isOutermost ? [...of, ANYTHING] : of }
  }

  #repeated(of: Expression): Expression {
    const [least, most] = this.#count() ?? []
    if (least === undefined) return of
    // Which of several readings comes first makes no difference to what is accepted.
    this.#skip('?')
    if (Math.max(least, most ?? 0) > MAX_COUNT) throw new PatternError(`a count above ${MAX_COUNT}`)
    if (most !== undefined && most < least) throw new PatternError('a count whose end comes before its beginning')
    return { kind: 'repeat', of, least, most }
  }

  #count(): readonly [number, number | undefined] | undefined {
    if (this.#skip('*')) return [0, undefined]
    if (this.#skip('+')) return [1, undefined]
    if (this.#skip('?')) return [0, 1]
    if (!this.#skip('{')) return undefined
    let text = ''
    while (!this.isAtEnd && this.#peek() !== '}') text += this.#next()
    const [, least, comma, most] = /^(\d+)(,?)(\d*)$/.exec(text) ?? []
    if (!this.#skip('}') || least === undefined || (most && !comma)) throw new PatternError('a "{" that is no count')
    return [Number(least), most ? Number(most) : comma ? undefined : Number(least)]
  }

  #atom(): Expression {
    const character = this.#next()
    if (character === '(') return this.#group()
    if (character === '[') return { kind: 'one', of: this.#class() }
    if (character === '.') return { kind: 'one', of: without(LINE_END) }
    if (character === '\\') return { kind: 'one', of: this.#escape() }
    if ('^*+?{}]'.includes(character)) throw new PatternError(`a "${character}" in a place that is not supported`)
    return { kind: 'one', of: only(character) }
  }

  #group(): Expression {
    if (this.#skip('?') && !this.#skip(':')) throw new PatternError('a group other than (…) and (?:…)')
    const inside = this.alternatives(false)
    if (!this.#skip(')')) throw new PatternError('a "(" that is not closed')
    return inside
  }

  #class(): CodePoints {
    const isNegated = this.#skip('^')
    const points: (readonly [number, number])[] = []
    while (!this.#skip(']')) {
      const low = this.#classMember()
      const isRange = this.#peek() === '-' && this.#characters[this.#at + 1] !== ']' && this.#skip('-')
      const high = isRange ? this.#classMember() : low
      if (!isRange) points.push(...low)
      else if (!isSingle(low) || !isSingle(high) || high[0]![0] < low[0]![0])
        throw new PatternError('a range of no order')
      else points.push([low[0]![0], high[0]![0]])
    }
    return isNegated ? without(points) : points
  }

  #classMember(): CodePoints {
    const character = this.#next()
    if (character !== '\\') return only(character)
    return this.#skip('b') ? [[8, 8]] : this.#escape()
  }

  #escape(): CodePoints {
    const character = this.#next()
    const known = CLASSES[character]
    if (known) return known
    const control = CONTROLS[character]
    if (character === '0' && /\d/.test(this.#peek())) throw new PatternError('an octal "\\0"')
    if (control !== undefined) return [[control, control]]
    if (character === 'x') return this.#hexadecimal(2)
    if (character === 'u' && this.#peek() !== '{') return this.#hexadecimal(4)
    if (/[\dA-Za-z]/.test(character)) throw new PatternError(`"\\${character}"`)
    return only(character)
  }

  #hexadecimal(digits: number): CodePoints {
    const text = Array.from({ length: digits }, () => this.#next()).join('')
    const point = Number.parseInt(text, 16)
    // Half a character is none.
    if (!/^[\da-f]+$/i.test(text) || (point >= 0xd800 && point < 0xe000)) throw new PatternError(`"\\u${text}"`)
    return [[point, point]]
  }

  #peek(): string {
    return this.#characters[this.#at] ?? ''
  }

  #next(): string {
    const character = this.#characters[this.#at++]
    if (character === undefined) throw new PatternError('something that is not closed at its end')
    return character
  }

  #skip(character: string): boolean {
    if (this.#peek() !== character) return false
    this.#at++
    return true
  }
}

function only(character: string): CodePoints {
  const point = character.codePointAt(0)!
  return [[point, point]]
}

function isSingle(points: CodePoints): boolean {
  return points.length === 1 && points[0]![0] === points[0]![1]
}
