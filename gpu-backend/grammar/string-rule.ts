// What a schema says of a string's form, all of it at once, as a rule of a grammar.
import type { Automaton } from './automaton.ts'
import { PatternError, parsePattern } from './pattern-syntax.ts'
import { ofLength } from './rule-length.ts'
import { count, refusal, type Schema } from './schema-keywords.ts'
import { formatRule } from './string-formats.ts'
import { both, countRule, patternRule } from './text-rules.ts'

/** What Zod before 4.6 writes for addresses of email, and what it has written for the same texts since then. */
const LOOKING_AHEAD = String.raw`^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$`
const NOT_LOOKING_AHEAD = String.raw`^(?:[A-Za-z0-9_'+\-]+\.)*[A-Za-z0-9_'+\-]*[A-Za-z0-9_+-]@(?:[A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$`

/** Whether more is said of strings than how many characters they have. */
export function hasForm(schema: Schema): boolean {
  return 'format' in schema || 'pattern' in schema
}

/** The entry of a rule for strings of the form. @throws BackendError `bad_request` where it cannot be held to */
export function stringRule(automaton: Automaton, schema: Schema, place: string): number {
  const least = count(schema, 'minLength', place) ?? 0
  const most = count(schema, 'maxLength', place)
  const isFormatted = 'format' in schema
  const rules = [
    ...(isFormatted ? [ofLength(automaton, formatRule(automaton, schema.format), least, most)] : []),
    ...('pattern' in schema ? [patternRule(automaton, parsed(schema.pattern, place))] : []),
    ...(!isFormatted && (least > 0 || most !== undefined) ? [countRule(automaton, least, most)] : []),
  ]
  return rules.reduce((some, other) => both(automaton, some, other))
}

function parsed(pattern: unknown, place: string) {
  if (typeof pattern !== 'string') throw refusal(place, 'has a "pattern" that is not a text')
  try {
    return parsePattern(pattern === LOOKING_AHEAD ? NOT_LOOKING_AHEAD : pattern)
  } catch (error) {
    if (!(error instanceof PatternError)) throw error
    throw refusal(place, `has a "pattern" with ${error.message}, which is not supported`)
  }
}
