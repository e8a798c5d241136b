// Strings as regular grammars of their JSON: patterns and counts of characters, and what several of them accept alike.
// Invariant: what is accepted is a string in its quotes whose characters are written in one way each, and no half ones.
import { type Automaton, END } from './automaton.ts'
import { type CodePoints, EVERY, type Expression } from './pattern-syntax.ts'

/** The last code points that UTF-8 writes in one to four bytes. */
const UTF8_ENDS = [0x7f, 0x7ff, 0xffff, 0x10ffff]
const SURROGATES = [0xd800, 0xdfff] as const
const ESCAPES: Readonly<Record<number, string>> = { 8: 'b', 9: 't', 10: 'n', 12: 'f', 13: 'r', 34: '"', 92: '\\' }

/** The entry of a rule for a string that the pattern describes in full. */
export function patternRule(automaton: Automaton, expression: Expression): number {
  return automaton.literal('"', written(automaton, expression, automaton.literal('"', END)))
}

/** The entry of a rule for a string of so many characters. */
export function countRule(automaton: Automaton, least: number, most: number | undefined): number {
  return patternRule(automaton, { kind: 'repeat', of: { kind: 'one', of: EVERY }, least, most })
}

function written(automaton: Automaton, expression: Expression, to: number): number {
  switch (expression.kind) {
    case 'one':
      return oneOf(automaton, expression.of, to)
    case 'all':
      return expression.of.reduceRight((next, one) => written(automaton, one, next), to)
    case 'any':
      return automaton.choice(...expression.of.map((one) => written(automaton, one, to)))
    case 'repeat':
      return repeated(automaton, expression, to)
  }
}

function repeated(
  automaton: Automaton,
  { of, least, most }: Extract<Expression, { kind: 'repeat' }>,
  to: number,
): number {
  let rest = to
  if (most === undefined) {
    rest = automaton.choice(to)
    automaton.addJump(rest, written(automaton, of, rest))
  }
  for (let count = least; count < (most ?? least); count++) rest = automaton.choice(to, written(automaton, of, rest))
  for (let count = 0; count < least; count++) {
    const once = written(automaton, of, rest)
    // What writes nothing does so however often, and no node would count how often: counts of counts are endless.
    if (once === rest) break
    rest = once
  }
  return rest
}

/** One of the characters as JSON writes it, then `to`. Few nodes, since a count has them for each character. */
function oneOf(automaton: Automaton, points: CodePoints, to: number): number {
  const node = automaton.node()
  const escaped: number[] = []
  const tails: Tails = new Map()
  for (const [low, high] of points) {
    for (let point = low; point <= Math.min(high, 0x5c); point++) {
      if (point < 0x20 || point === 0x22 || point === 0x5c) escaped.push(point)
      else automaton.addRange(node, point, point, to)
    }
    if (high > 0x5c) addUtf8(automaton, node, Math.max(low, 0x5d), high, to, tails)
  }
  if (escaped.length > 0) automaton.addJump(node, automaton.literal('\\', escapes(automaton, escaped, to)))
  return node
}

/** What stands behind the backslash of one of the characters, then `to`. */
function escapes(automaton: Automaton, points: readonly number[], to: number): number {
  const node = automaton.oneOf(points.map((point) => ESCAPES[point] ?? '').join(''), to)
  const hex = points.filter((point) => !(point in ESCAPES)).map((point) => point.toString(16).padStart(4, '0'))
  for (const start of new Set(hex.map((digits) => digits.slice(0, 3)))) {
    const ends = hex.filter((digits) => digits.startsWith(start)).map((digits) => digits.slice(3))
    automaton.addJump(node, automaton.literal(`u${start}`, automaton.oneOf(ends.join(''), to)))
  }
  return node
}

/** Lets `from` take a character from `low` to `high` in UTF-8. `tails` are of the same `to`. */
function addUtf8(automaton: Automaton, from: number, low: number, high: number, to: number, tails: Tails): void {
  const add = (lowest: number, highest: number) => addUtf8(automaton, from, lowest, highest, to, tails)
  const end = UTF8_ENDS.find((last) => low <= last)!
  if (high > end) {
    add(low, end)
    add(end + 1, high)
  } else if (low < SURROGATES[0] && high >= SURROGATES[0]) {
    add(low, SURROGATES[0] - 1)
    add(SURROGATES[0], high)
  } else if (low >= SURROGATES[0] && low <= SURROGATES[1]) {
    if (high > SURROGATES[1]) add(SURROGATES[1] + 1, high)
  } else addBytes(automaton, from, bytesOf(low), bytesOf(high), to, tails)
}

const bytesOf = (point: number) => [...new TextEncoder().encode(String.fromCodePoint(point))]

/** Nodes that take what lies between two texts: a character's last bytes are the same after most of its first ones. */
type Tails = Map<string, number>

/** Lets `from` take what lies between two texts of as many bytes. */
function addBytes(
  automaton: Automaton,
  from: number,
  [low = 0, ...lows]: readonly number[],
  [high = 0, ...highs]: readonly number[],
  to: number,
  tails: Tails,
): void {
  const tail = (a: readonly number[], b: readonly number[]): number => {
    if (a.length === 0) return to
    const key = `${a} ${b}`
    const known = tails.get(key)
    if (known !== undefined) return known
    const node = automaton.node()
    addBytes(automaton, node, a, b, to, tails)
    tails.set(key, node)
    return node
  }
  const add = (lowest: number, highest: number, a: readonly number[], b: readonly number[]) => {
    if (lowest <= highest) automaton.addRange(from, lowest, highest, tail(a, b))
  }
  const least = lows.map(() => 0x80)
  const most = lows.map(() => 0xbf)
  if (low === high) add(low, high, lows, highs)
  else {
    add(low, low, lows, most)
    add(low + 1, high - 1, least, most)
    add(high, high, least, highs)
  }
}

/** The entry of a rule for what both rules accept, neither of which may call another. @throws GrammarTooLarge */
export function both(automaton: Automaton, one: number, other: number): number {
  const known = new Map<string, number>()
  const open: (readonly [number, number, number])[] = []
  const pair = (a: number, b: number): number => {
    const key = `${a} ${b}`
    const ready = known.get(key)
    if (ready !== undefined) return ready
    const node = a === END && b === END ? END : automaton.node()
    known.set(key, node)
    if (node !== END) open.push([node, a, b])
    return node
  }
  const entry = pair(one, other)
  const reached = new Map<number, Reached>()
  for (let next = open.pop(); next; next = open.pop()) {
    const [node, a, b] = next
    const [left, right] = [a, b].map((from) => reached.get(from) ?? follow(automaton, from)) as [Reached, Reached]
    reached.set(a, left).set(b, right)
    automaton.compare(left.ranges.length * right.ranges.length)
    if (left.ends && right.ends) automaton.addJump(node, END)
    for (const [low, high, to] of left.ranges) {
      for (const [least, most, along] of right.ranges) {
        const [lowest, highest] = [Math.max(low, least), Math.min(high, most)]
        if (lowest <= highest) automaton.addRange(node, lowest, highest, pair(to, along))
      }
    }
  }
  return entry
}

/** What a node and those that its jumps lead to read next, and whether the rule may end there. */
interface Reached {
  readonly ranges: readonly (readonly [number, number, number])[]
  readonly ends: boolean
}

function follow(automaton: Automaton, node: number): Reached {
  const nodes = new Set([node])
  const ranges: (readonly [number, number, number])[] = []
  for (const from of nodes) {
    for (const to of automaton.jumps[from]!) nodes.add(to)
    ranges.push(...automaton.rangesFrom(from))
  }
  return { ranges, ends: nodes.has(END) }
}
