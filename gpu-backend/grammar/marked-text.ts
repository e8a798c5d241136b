// JSON between marks, as models write calls of tools, for where it may stand in place of other JSON. Knows no tools.
import { type Automaton, END } from './automaton.ts'
import type { Schema } from './schema-keywords.ts'

export interface MarkedText {
  readonly open: string
  readonly close: string
  /** Of what stands between the marks; it has no references. */
  readonly schema: Schema
  /** Several may follow one another. */
  readonly isRepeated: boolean
}

/** Adds the rule to `automaton`; `space` is that of white space, `value(to)` is what the schema asks for and then `to`. */
export function markedText(
  automaton: Automaton,
  { open, close, isRepeated }: MarkedText,
  space: number,
  value: (to: number) => number,
): number {
  const rest = automaton.node()
  const end = automaton.call(space, automaton.literal(close, rest))
  const one = automaton.literal(open, automaton.call(space, value(end)))
  automaton.addJump(rest, END)
  if (isRepeated) automaton.addJump(rest, automaton.call(space, one))
  return one
}
