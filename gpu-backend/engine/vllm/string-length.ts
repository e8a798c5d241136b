// The lengths of strings as a pattern for xgrammar (vLLM 0.32), whose own rule for them lets control characters through,
// which JSON has only in escapes. Pure. Narrower than the schema: nothing that needs an escape.

/** Every other one, said as itself and not by what it is not: so xgrammar takes none that UTF-8 cannot write. */
const CHARACTER = '[ !#-\\[\\]-\ud7ff\ue000-\u{10ffff}]'
/** xgrammar's time for a count grows with its square: long ones are of pieces. */
const PIECE = 100

/** Matches strings of `least` to `most` characters; undefined: as many as there are. */
export function lengthPattern(least: number, most: number | undefined): string {
  return `^${exactly(least)}${most === undefined ? `${CHARACTER}*` : upTo(most - least)}$`
}

function exactly(count: number): string {
  const rest = count % PIECE
  return pieces(count, count) + (rest === 0 ? '' : `${CHARACTER}{${rest}}`)
}

/** Two ways at most to read any length, so that a text does not get more ambiguous as it gets longer. */
function upTo(count: number): string {
  const rest = `${CHARACTER}{0,${count % PIECE}}`
  if (count < PIECE) return rest
  return `(${pieces(0, count - PIECE)}${CHARACTER}{0,${PIECE}}|${pieces(count, count)}${rest})`
}

/** The whole pieces of `least` to `most` characters. */
function pieces(least: number, most: number): string {
  const [few, many] = [least, most].map((count) => Math.floor(count / PIECE))
  return many === 0 ? '' : `(${CHARACTER}{${PIECE}}){${few},${many}}`
}
