// Formats of strings as patterns for xgrammar (vLLM 0.32), where its own rules are wider than the format: they take 31 April, the
// second 60 at any time, zeros before an address's numbers, a host without a dot. Pure.

const OCTET = '(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])'
const GROUP = '[0-9a-fA-F]{1,4}'
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
const ATOM = '[a-zA-Z0-9_+-]+'
const LABEL = '[a-zA-Z0-9]+(-+[a-zA-Z0-9]+)*'

/** Those that xgrammar keeps to by itself are none of them. */
const PATTERNS: Readonly<Record<string, string>> = {
  date: DATE,
  time: TIME,
  'date-time': `${DATE}T${TIME}`,
  // Nothing is counted: that takes xgrammar seconds.
  email: `${ATOM}([.]${ATOM})*@(${LABEL}[.])+[a-zA-Z]+`,
  ipv4: `(${OCTET}[.]){3}${OCTET}`,
  ipv6: ipv6(),
}

/** Matches strings of a format; undefined: of one that xgrammar keeps to by itself. */
export function formatPattern(format: unknown): string | undefined {
  const pattern = PATTERNS[String(format)]
  return pattern && `^(${pattern})$`
}

/** Eight groups, or fewer around one `::`. */
function ipv6(): string {
  const around = [1, 2, 3, 4, 5, 6].map((before) => `(${GROUP}:){${before}}(:${GROUP}){1,${7 - before}}`)
  return [`(${GROUP}:){7}${GROUP}`, `(${GROUP}:){1,7}:`, ...around, `:(:${GROUP}){1,7}`, '::'].join('|')
}
