// The parts of JSON text as grammar: strings, numbers, white space. Knows no schemas.
// Invariant: whatever these accept, JSON.parse reads, as a finite number or a string without half characters.
import { type Automaton, END } from './automaton.ts'

/** Digits of a number, before the point and after it: databases count in up to 20, which is more than a double keeps. */
const MAX_DIGITS = 20
/** Of a number between bounds that has a point, before and after it together: up to here a double keeps every one of them. */
const EXACT_DIGITS = 15
/** Spaces of indentation at most: a model cannot go on with white space for ever. */
const MAX_INDENT = 24

/** Entries of the rules that a grammar shares. */
export interface JsonText {
  /** Nothing, a space, or a new line with indentation. */
  readonly space: number
  /** One character of a string, escaped or not. */
  readonly character: number
  readonly string: number
  readonly integer: number
  readonly number: number
  readonly object: number
  readonly any: number
}

/** A bound of a range. */
export interface Bound {
  readonly value: number
  readonly exclusive: boolean
}

/** Adds the rules to `automaton`, once for a grammar. */
export function jsonText(automaton: Automaton): JsonText {
  const space = spaceRule(automaton)
  const character = addCharacter(automaton, automaton.node(), END)
  const string = automaton.literal('"', stringRest(automaton))
  const integer = signed(automaton, whole(automaton, END))
  const number = numberRule(automaton)
  const any = automaton.node()
  const object = container(automaton, '{', '}', space, (to) =>
    automaton.call(string, automaton.literal(':', automaton.call(space, automaton.call(any, to)))),
  )
  const array = container(automaton, '[', ']', space, (to) => automaton.call(any, to))
  const words = ['true', 'false', 'null'].map((word) => automaton.literal(word, END))
  for (const entry of [string, number, object, array, ...words]) automaton.addJump(any, entry)
  return { space, character, string, integer, number, object, any }
}

/** `open`, any number of items with commas between them, `close`. `item(to)` is an item and then `to`. */
function container(
  automaton: Automaton,
  open: string,
  close: string,
  space: number,
  item: (to: number) => number,
): number {
  const rest = automaton.node()
  const first = item(rest)
  automaton.addJump(rest, automaton.literal(',', automaton.call(space, first)))
  automaton.addJump(rest, automaton.call(space, automaton.literal(close, END)))
  return automaton.literal(open, automaton.choice(automaton.literal(close, END), automaton.call(space, first)))
}

function spaceRule(automaton: Automaton): number {
  let indent = END
  for (let count = 0; count < MAX_INDENT; count++) indent = automaton.choice(END, automaton.literal(' ', indent))
  return automaton.choice(END, automaton.literal(' ', END), automaton.literal('\n', indent))
}

function stringRest(automaton: Automaton): number {
  const rest = automaton.node()
  automaton.addJump(rest, automaton.literal('"', END))
  return addCharacter(automaton, rest, rest)
}

/** Lets `from` take one character of a string, then `to`: UTF-8 (Unicode 15, table 3-7) or an escape (RFC 8259, 7). */
function addCharacter(automaton: Automaton, from: number, to: number): number {
  const one = automaton.range(0x80, 0xbf, to)
  const two = automaton.range(0x80, 0xbf, one)
  automaton.addRange(from, 0x20, 0x21, to)
  automaton.addRange(from, 0x23, 0x5b, to)
  automaton.addRange(from, 0x5d, 0x7f, to)
  automaton.addRange(from, 0xc2, 0xdf, one)
  automaton.addRange(from, 0xe0, 0xe0, automaton.range(0xa0, 0xbf, one))
  automaton.addRange(from, 0xe1, 0xec, two)
  automaton.addRange(from, 0xed, 0xed, automaton.range(0x80, 0x9f, one))
  automaton.addRange(from, 0xee, 0xef, two)
  automaton.addRange(from, 0xf0, 0xf0, automaton.range(0x90, 0xbf, two))
  automaton.addRange(from, 0xf1, 0xf3, automaton.range(0x80, 0xbf, two))
  automaton.addRange(from, 0xf4, 0xf4, automaton.range(0x80, 0x8f, two))
  automaton.addRange(from, 0x5c, 0x5c, escaped(automaton, to))
  return from
}

function escaped(automaton: Automaton, to: number): number {
  const HEX = '0123456789abcdefABCDEF'
  const hex = (count: number, next: number): number => (count === 0 ? next : hex(count - 1, automaton.oneOf(HEX, next)))
  // Half of a surrogate pair is no character: the first half is let through with the second only.
  const second = automaton.literal('\\u', automaton.oneOf('dD', automaton.oneOf('cdefCDEF', hex(2, to))))
  const afterD = automaton.choice(automaton.oneOf('01234567', hex(2, to)), automaton.oneOf('89abAB', hex(2, second)))
  const unicode = automaton.choice(automaton.oneOf('0123456789abcefABCEF', hex(3, to)), automaton.oneOf('dD', afterD))
  return automaton.choice(automaton.oneOf('"\\/bfnrt', to), automaton.literal('u', unicode))
}

/** A property's name in quotes that is none of `names`, then `to`. Escapes are left out: they could spell a name. */
export function otherKey(automaton: Automaton, names: readonly string[], to: number): number {
  const free = automaton.node()
  automaton.addRange(free, 0x22, 0x22, to)
  const isPlain = (code: number) => code >= 0x20 && code < 0x80 && code !== 0x22 && code !== 0x5c
  for (let code = 0; code < 0x80; code++) if (isPlain(code)) automaton.addRange(free, code, code, free)
  /** After `length` characters with which the names `begun` begin. */
  const after = (length: number, begun: readonly string[]): number => {
    const node = automaton.node()
    const longer = begun.filter((name) => name.length > length)
    if (longer.length === begun.length) automaton.addRange(node, 0x22, 0x22, to)
    const byNext = Map.groupBy(longer, (name) => name.charCodeAt(length))
    for (let code = 0; code < 0x80; code++) {
      const rest = byNext.get(code)
      if (isPlain(code)) automaton.addRange(node, code, code, rest ? after(length + 1, rest) : free)
    }
    return node
  }
  return automaton.literal('"', after(0, names))
}

function numberRule(automaton: Automaton): number {
  const digits = digitsUpTo(automaton, 2, END)
  const exponent = automaton.oneOf('eE', automaton.choice(digits, automaton.oneOf('+-', digits)))
  const end = automaton.choice(END, exponent)
  const fraction = automaton.literal('.', digitsUpTo(automaton, MAX_DIGITS, end))
  return signed(automaton, whole(automaton, automaton.choice(end, fraction)))
}

function whole(automaton: Automaton, to: number): number {
  const rest = automaton.choice(to, digitsUpTo(automaton, MAX_DIGITS - 1, to))
  return automaton.choice(automaton.literal('0', to), automaton.oneOf('123456789', rest))
}

function signed(automaton: Automaton, to: number): number {
  return automaton.choice(to, automaton.literal('-', to))
}

/** One digit to `most`, then `to`. */
function digitsUpTo(automaton: Automaton, most: number, to: number): number {
  let digits = automaton.oneOf('0123456789', to)
  for (let count = 1; count < most; count++) digits = automaton.oneOf('0123456789', automaton.choice(to, digits))
  return digits
}

/**
 * Decimal numbers from `low` to `high` without an exponent, of at most 15 digits or whole ones of 20, then `to`. undefined where
 * a bound has more digits than a double keeps. Without `fraction`, integers only.
 */
export function decimalRange(
  automaton: Automaton,
  low: Bound | undefined,
  high: Bound | undefined,
  fraction: boolean,
  to: number,
): number | undefined {
  const most = 10 ** MAX_DIGITS
  const least = clamp(low, -most, Math.max)
  const greatest = clamp(high, most, Math.min)
  const zero = { value: 0, exclusive: true }
  const entry = automaton.node()
  if (greatest.value >= 0) {
    const from = least.value < 0 ? { value: 0, exclusive: false } : least
    const positive = magnitudes(automaton, from, greatest, fraction, to)
    if (positive === undefined) return undefined
    automaton.addJump(entry, positive)
  }
  if (least.value < 0) {
    const from = greatest.value >= 0 ? zero : { ...greatest, value: -greatest.value }
    const negative = magnitudes(automaton, from, { ...least, value: -least.value }, fraction, to)
    if (negative === undefined) return undefined
    automaton.addJump(entry, automaton.literal('-', negative))
  }
  return entry
}

function clamp(bound: Bound | undefined, limit: number, closest: (x: number, y: number) => number): Bound {
  if (bound && closest(bound.value, limit) === bound.value) return bound
  return { value: limit, exclusive: false }
}

interface Decimal {
  readonly whole: string
  readonly part: string
  readonly exclusive: boolean
}

function decimal({ value, exclusive }: Bound): Decimal | undefined {
  const [whole = '0', part = ''] = String(value).split('.')
  const isKept = value <= Number.MAX_SAFE_INTEGER && whole.length + part.length <= EXACT_DIGITS + 1
  return isKept && /^\d+$/.test(whole) && /^\d*$/.test(part) ? { whole, part, exclusive } : undefined
}

/** As `decimal`, or where a double does not keep the bound, what is certainly below it. */
function greatestDecimal(bound: Bound): Decimal | undefined {
  const { value } = bound
  if (value <= Number.MAX_SAFE_INTEGER) return decimal(bound)
  const below = value - 2 ** (Math.floor(Math.log2(value)) - 52)
  return { whole: String(BigInt(below)), part: '', exclusive: false }
}

/** Non-negative numbers between the bounds: digit by digit, remembering which bound the digits so far are equal to. */
function magnitudes(
  automaton: Automaton,
  lowBound: Bound,
  highBound: Bound,
  fraction: boolean,
  to: number,
): number | undefined {
  const low = decimal(lowBound)
  const high = greatestDecimal(highBound)
  if (!low || !high) return undefined
  const known = new Map<string, number>()
  /** Nodes before digit `at` of `digits` in all; `onLow` and `onHigh`: the digits so far are those of the bound. */
  const node = (digits: number, at: number, onLow: boolean, onHigh: boolean): number => {
    // Of whole numbers between the bounds it counts only how many digits are left.
    const isFree = !fraction && at > 0 && !onLow && !onHigh
    const key = isFree ? `${digits - at}` : `${digits} ${at} ${onLow} ${onHigh}`
    const ready = known.get(key)
    if (ready !== undefined) return ready
    const made = automaton.node()
    known.set(key, made)
    const after = at - digits
    if (after >= 0) {
      // What comes after the digits so far, if nothing does, is zeros.
      const isLow = !/[1-9]/.test(low.part.slice(after))
      const isHigh = !/[1-9]/.test(high.part.slice(after))
      const ends = (!onLow || (isLow && !low.exclusive)) && (!onHigh || !isHigh || !high.exclusive)
      if (ends) automaton.addJump(made, to)
      if (!fraction || at >= EXACT_DIGITS) return made
    }
    const from = after === 0 ? automaton.node() : made
    if (after === 0) automaton.addJump(made, automaton.literal('.', from))
    for (let digit = at === 0 && digits > 1 ? 1 : 0; digit <= 9; digit++) {
      const lowest = Number((after < 0 ? low.whole[at] : low.part[after]) ?? 0)
      const highest = Number((after < 0 ? high.whole[at] : high.part[after]) ?? 0)
      if ((onLow && digit < lowest) || (onHigh && digit > highest)) continue
      const next = node(digits, at + 1, onLow && digit === lowest, onHigh && digit === highest)
      automaton.addRange(from, 0x30 + digit, 0x30 + digit, next)
    }
    return made
  }
  const lengths: number[] = []
  for (let digits = Math.max(1, low.whole.length); digits <= Math.min(high.whole.length, MAX_DIGITS); digits++) {
    lengths.push(node(digits, 0, digits === low.whole.length, digits === high.whole.length))
  }
  return automaton.choice(...lengths)
}
