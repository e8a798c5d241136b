// The formats of strings that OpenAI's structured outputs know, as grammar. Knows no schemas.
// Invariant: what one accepts is of the format, and needs no escape in JSON. Narrower than the format on purpose: years have
// four digits and no zero before them, fractions of seconds six at most, and names of hosts eight labels of 30 characters,
// in addresses of email six.
import { type Automaton, END } from './automaton.ts'

/** A text of one format, then `to`. */
type Format = (automaton: Automaton, to: number) => number

const DIGITS = '0123456789'
const HEX = `${DIGITS}abcdefABCDEF`
const LETTERS = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'
/** Two digits that are a multiple of four, but not 00. */
const FOURS = [
  ['0', '48'],
  ['2468', '048'],
  ['13579', '26'],
] as const
const MAX_LABELS = 8
const MAX_LABEL_CHARS = 30
/** RFC 5321; with these labels an address is no longer than the 254 characters that it allows. */
const MAX_LOCAL_CHARS = 64
const MAX_EMAIL_LABELS = 6
/** Digits of one number of a duration. */
const MAX_DURATION_DIGITS = 6

const FORMATS: ReadonlyMap<unknown, Format> = new Map<unknown, Format>([
  ['date-time', (automaton, to) => date(automaton, automaton.literal('T', time(automaton, to)))],
  ['date', date],
  ['time', time],
  ['duration', duration],
  ['email', email],
  ['hostname', hostname],
  ['ipv4', (automaton, to) => ipv4(automaton, to, 4)],
  ['ipv6', ipv6],
  ['uuid', uuid],
])

export function isFormat(name: unknown): boolean {
  return FORMATS.has(name)
}

/** The entry of a rule for a string of the format in its quotes. */
export function formatRule(automaton: Automaton, name: unknown): number {
  return automaton.literal('"', FORMATS.get(name)!(automaton, automaton.literal('"', END)))
}

/** `count` characters of `characters`. */
function times(automaton: Automaton, count: number, characters: string, to: number): number {
  return count === 0 ? to : automaton.oneOf(characters, times(automaton, count - 1, characters, to))
}

/** One to `most` characters of `characters`. */
function upTo(automaton: Automaton, most: number, characters: string, to: number): number {
  let rest = automaton.oneOf(characters, to)
  for (let count = 1; count < most; count++) rest = automaton.oneOf(characters, automaton.choice(to, rest))
  return rest
}

/** Any of the pairs of characters. */
function pairs(automaton: Automaton, of: readonly (readonly [string, string])[], to: number): number {
  return automaton.choice(...of.map(([first, second]) => automaton.oneOf(first, automaton.oneOf(second, to))))
}

/** RFC 3339's full-date; 29 February in leap years. */
function date(automaton: Automaton, to: number): number {
  const days = (...of: (readonly [string, string])[]) => pairs(automaton, [['0', '123456789'], ...of], to)
  const month = (of: readonly (readonly [string, string])[], day: number) =>
    pairs(automaton, of, automaton.literal('-', day))
  const monthAndDay = automaton.choice(
    month(
      [
        ['0', '13578'],
        ['1', '02'],
      ],
      days(['12', DIGITS], ['3', '01']),
    ),
    month(
      [
        ['0', '469'],
        ['1', '1'],
      ],
      days(['12', DIGITS], ['3', '0']),
    ),
    month([['0', '2']], days(['1', DIGITS], ['2', '012345678'])),
  )
  const year = automaton.oneOf('123456789', times(automaton, 3, DIGITS, automaton.literal('-', monthAndDay)))
  const leapDay = automaton.literal('-02-29', to)
  const century = automaton.oneOf('123456789', automaton.oneOf(DIGITS, pairs(automaton, FOURS, leapDay)))
  const fourthCentury = pairs(automaton, FOURS.slice(1), automaton.literal('00', leapDay))
  return automaton.choice(year, century, fourthCentury)
}

/** RFC 3339's full-time, of no leap second. */
function time(automaton: Automaton, to: number): number {
  const hour = (next: number) =>
    pairs(
      automaton,
      [
        ['01', DIGITS],
        ['2', '0123'],
      ],
      automaton.literal(':', next),
    )
  const sixtieth = (next: number) => automaton.oneOf('012345', automaton.oneOf(DIGITS, next))
  const offset = automaton.choice(automaton.literal('Z', to), automaton.oneOf('+-', hour(sixtieth(to))))
  const fraction = automaton.literal('.', upTo(automaton, 6, DIGITS, offset))
  return hour(sixtieth(automaton.literal(':', sixtieth(automaton.choice(offset, fraction)))))
}

/** RFC 3339, appendix A: units in their order, none left out between two that are there, or weeks alone. */
function duration(automaton: Automaton, to: number): number {
  const number = (unit: string, next: number) =>
    upTo(automaton, MAX_DURATION_DIGITS, DIGITS, automaton.literal(unit, next))
  /** The units from each on: the first that is written, then those that follow without a gap. */
  const units = (letters: string, end: number) => {
    let following: number | undefined
    const starts = [...letters].reverse().map((letter) => {
      following = number(letter, following === undefined ? end : automaton.choice(end, following))
      return following
    })
    return automaton.choice(...starts)
  }
  const clock = automaton.literal('T', units('HMS', to))
  const calendar = units('YMD', automaton.choice(to, clock))
  return automaton.literal('P', automaton.choice(calendar, clock, number('W', to)))
}

/** A dot-atom (RFC 5322) of the characters that every checker takes, and a host of two labels or more that ends with letters. */
function email(automaton: Automaton, to: number): number {
  const host = domain(automaton, to)
  const at = automaton.literal('@', host)
  const atoms = `${LETTERS}${DIGITS}_+-`
  // What may come after one of these, one and two characters nearer to the longest end: a dot is followed by another.
  let [one, two] = [at, at]
  for (let left = 1; left < MAX_LOCAL_CHARS; left++) {
    const next = automaton.choice(at, automaton.oneOf(atoms, one))
    if (left > 1) automaton.addJump(next, automaton.literal('.', automaton.oneOf(atoms, two)))
    ;[two, one] = [one, next]
  }
  return automaton.oneOf(atoms, one)
}

function domain(automaton: Automaton, to: number): number {
  const top = automaton.oneOf(LETTERS, upTo(automaton, MAX_LABEL_CHARS - 1, LETTERS, to))
  let rest = top
  let label = automaton.node()
  for (let labels = 1; labels < MAX_EMAIL_LABELS; labels++) {
    label = hostLabel(automaton, automaton.literal('.', rest))
    rest = automaton.choice(top, label)
  }
  return label
}

function hostname(automaton: Automaton, to: number): number {
  let rest = hostLabel(automaton, to)
  for (let count = 1; count < MAX_LABELS; count++) {
    rest = hostLabel(automaton, automaton.choice(to, automaton.literal('.', rest)))
  }
  return rest
}

/** Letters, digits, and hyphens between them (RFC 1123). */
function hostLabel(automaton: Automaton, to: number): number {
  const ends = LETTERS + DIGITS
  // What may come after one of these, and after a hyphen, so many characters before the longest end.
  let [afterEnd, afterHyphen] = [to, automaton.node()]
  for (let left = 1; left < MAX_LABEL_CHARS; left++) {
    const end = automaton.oneOf(ends, afterEnd)
    const hyphen = automaton.literal('-', afterHyphen)
    afterEnd = automaton.choice(to, end, hyphen)
    afterHyphen = automaton.choice(end, hyphen)
  }
  return automaton.oneOf(ends, afterEnd)
}

function ipv4(automaton: Automaton, to: number, parts: number): number {
  const next = parts === 1 ? to : automaton.literal('.', ipv4(automaton, to, parts - 1))
  return automaton.choice(
    automaton.oneOf(DIGITS, next),
    automaton.oneOf('123456789', automaton.oneOf(DIGITS, next)),
    automaton.literal('1', times(automaton, 2, DIGITS, next)),
    automaton.literal(
      '2',
      pairs(
        automaton,
        [
          ['01234', DIGITS],
          ['5', '012345'],
        ],
        next,
      ),
    ),
  )
}

/** Eight groups (RFC 4291), or fewer around one `::`; no IPv4 address at the end. */
function ipv6(automaton: Automaton, to: number): number {
  const group = (next: number) => upTo(automaton, 4, HEX, next)
  /** By count: what may come behind `::`, so many groups at most. */
  const behind = [to]
  let further = to
  for (let count = 1; count <= 7; count++) {
    const groups = group(further)
    behind.push(automaton.choice(to, groups))
    further = automaton.choice(to, automaton.literal(':', groups))
  }
  let after = to
  for (let written = 7; written >= 1; written--) {
    after = automaton.choice(automaton.literal(':', group(after)), automaton.literal('::', behind[7 - written]!))
  }
  return automaton.choice(group(after), automaton.literal('::', behind[7]!))
}

/** RFC 9562, of a version and variant that it defines. */
function uuid(automaton: Automaton, to: number): number {
  const hex = (count: number, next: number) => times(automaton, count, HEX, next)
  const last = automaton.literal('-', hex(12, to))
  const variant = automaton.literal('-', automaton.oneOf('89abAB', hex(3, last)))
  const version = automaton.literal('-', automaton.oneOf('12345678', hex(3, variant)))
  return hex(8, automaton.literal('-', hex(4, version)))
}
