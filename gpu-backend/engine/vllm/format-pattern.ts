// The formats of strings as patterns for xgrammar (vLLM 0.32), whose own rules for them are wider than the formats: they take
// 31 April, the second 60 at any time, zeros before an address's numbers. Pure. As narrow as our grammars' formats.

const OCTET = '(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])'
const HEX = '[0-9a-fA-F]'
const GROUP = `${HEX}{1,4}`
const HOUR = '([01][0-9]|2[0-3])'
/** {0,1} and not ?: of a group that ends with a count, xgrammar then takes the rest without the start. */
const TIME = `${HOUR}:[0-5][0-9]:[0-5][0-9]([.][0-9]{1,6}){0,1}(Z|[+-]${HOUR}:[0-5][0-9])`
const DAYS = [
  '(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])',
  '(0[469]|11)-(0[1-9]|[12][0-9]|30)',
  '02-(0[1-9]|1[0-9]|2[0-8])',
].join('|')
const LEAP_YEAR = '([1-9][0-9](0[48]|[2468][048]|[13579][26])|([2468][048]|[13579][26])00)'
const DATE = `([1-9][0-9]{3}-(${DAYS})|${LEAP_YEAR}-02-29)`
const LABEL = '[a-zA-Z0-9]([a-zA-Z0-9-]{0,28}[a-zA-Z0-9])?'
const ATOM = '[a-zA-Z0-9_+-]'

const PATTERNS: Readonly<Record<string, string>> = {
  date: DATE,
  time: TIME,
  'date-time': `${DATE}T${TIME}`,
  duration: `P(${units('YMD')}(T${units('HMS')})?|T${units('HMS')}|[0-9]{1,6}W)`,
  // Of 64 characters at most.
  email: `(${ATOM}{1,64}|${ATOM}([.]?${ATOM}){0,31})@(${LABEL}[.]){1,7}[a-zA-Z]{1,30}`,
  hostname: `${LABEL}([.]${LABEL}){0,7}`,
  ipv4: `(${OCTET}[.]){3}${OCTET}`,
  ipv6: ipv6(),
  uuid: `${HEX}{8}-${HEX}{4}-[1-8]${HEX}{3}-[89abAB]${HEX}{3}-${HEX}{12}`,
}

/** Matches strings of a format that ours know. */
export function formatPattern(format: string): string {
  return `^(${PATTERNS[format]})$`
}

/** The units from each on, none left out between two that are there. */
function units(letters: string): string {
  const starts = [...letters].map((_, first) =>
    [...letters.slice(first)].reduceRight(
      (following, letter) => `[0-9]{1,6}${letter}${following && `(${following})?`}`,
      '',
    ),
  )
  return `(${starts.join('|')})`
}

/** Eight groups, or fewer around one `::`. */
function ipv6(): string {
  const around = [1, 2, 3, 4, 5, 6].map((before) => `(${GROUP}:){${before}}(:${GROUP}){1,${7 - before}}`)
  return [`(${GROUP}:){7}${GROUP}`, `(${GROUP}:){1,7}:`, ...around, `:(:${GROUP}){1,7}`, '::'].join('|')
}
