// The texts of a rule that have so many characters. Knows no schemas.
// Invariant: what is accepted, the rule accepts, too.
import { type Automaton, END } from './automaton.ts'

/**
 * The entry of a rule for the texts of `least` to `most` characters of a rule whose texts are not endless, are ASCII and need no
 * escapes. Characters are counted only where that many may be too few or too many: `both` would count them everywhere.
 * @throws GrammarTooLarge
 */
export function ofLength(automaton: Automaton, rule: number, least: number, most: number | undefined): number {
  const quotes = 2
  const [lowest, highest] = [least + quotes, (most ?? Number.POSITIVE_INFINITY) + quotes]
  const lengths = lengthsOf(automaton)
  const known = new Map<string, number>()
  const after = (written: number, node: number): number => {
    const [shortest, longest] = lengths(node).map((length) => written + length) as [number, number]
    if (shortest >= lowest && longest <= highest) return node
    const key = `${written} ${node}`
    const ready = known.get(key)
    if (ready !== undefined) return ready
    const counted = automaton.node()
    known.set(key, counted)
    // Else no text of the length goes on from here.
    if (shortest <= highest && longest >= lowest) {
      for (const to of automaton.jumps[node]!) automaton.addJump(counted, after(written, to))
      for (const [low, high, to] of automaton.rangesFrom(node))
        automaton.addRange(counted, low, high, after(written + 1, to))
    }
    return counted
  }
  return after(0, rule)
}

/** The fewest and the most bytes that a rule reads from a node on to its end. */
function lengthsOf(automaton: Automaton): (node: number) => readonly [number, number] {
  const known = new Map<number, readonly [number, number]>([[END, [0, 0]]])
  return function lengths(node) {
    const ready = known.get(node)
    if (ready) return ready
    let [fewest, most] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
    const add = (bytes: number, to: number) => {
      const [few, many] = lengths(to)
      ;[fewest, most] = [Math.min(fewest, few + bytes), Math.max(most, many + bytes)]
    }
    for (const to of automaton.jumps[node]!) add(0, to)
    for (const [, , to] of automaton.rangesFrom(node)) add(1, to)
    known.set(node, [fewest, most])
    return [fewest, most]
  }
}
