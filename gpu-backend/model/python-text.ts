// What Python writes: str() and repr() for values of @huggingface/jinja, strftime() for dates. Knows no templates.

/** What is read of @huggingface/jinja's values. */
export interface RuntimeValue {
  readonly type: string
  readonly value?: unknown
  toString(): string
}

/** As str(): a text is itself, and what is not defined is nothing, as Jinja has it. */
export function pythonText(value: RuntimeValue): string {
  if (value.type === 'StringValue') return value.value as string
  return value.type === 'UndefinedValue' ? '' : pythonRepr(value)
}

function pythonRepr(value: RuntimeValue): string {
  switch (value.type) {
    case 'StringValue':
      return quoted(value.value as string)
    case 'NullValue':
      return 'None'
    case 'UndefinedValue':
      return 'Undefined'
    case 'BooleanValue':
      return value.value ? 'True' : 'False'
    case 'FloatValue':
      // Python's exponents have two digits at least.
      return value.toString().replace(/e([+-])(\d)$/, 'e$10$2')
    case 'ArrayValue':
      return `[${(value.value as readonly RuntimeValue[]).map(pythonRepr).join(', ')}]`
    case 'TupleValue': {
      const items = (value.value as readonly RuntimeValue[]).map(pythonRepr)
      return items.length === 1 ? `(${items[0]},)` : `(${items.join(', ')})`
    }
    case 'ObjectValue': {
      const entries = [...(value.value as ReadonlyMap<string, RuntimeValue>)]
      return `{${entries.map(([key, item]) => `${quoted(key)}: ${pythonRepr(item)}`).join(', ')}}`
    }
    default:
      return value.toString()
  }
}

const SHORT_ESCAPES: Readonly<Record<string, string>> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' }

/** In single quotes, unless those alone are in the text. */
function quoted(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'"
  const escaped = text.replace(/[\p{C}\p{Z}\\'"]/gu, (character) => {
    if (character === ' ') return character
    if (character === "'" || character === '"') return character === quote ? `\\${character}` : character
    return SHORT_ESCAPES[character] ?? escapedCode(character.codePointAt(0)!)
  })
  return quote + escaped + quote
}

function escapedCode(code: number): string {
  const hex = code.toString(16)
  if (code < 0x100) return `\\x${hex.padStart(2, '0')}`
  return code < 0x10000 ? `\\u${hex.padStart(4, '0')}` : `\\U${hex.padStart(8, '0')}`
}

const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday']
const MONTHS = [
  ...['January', 'February', 'March', 'April', 'May', 'June'],
  ...['July', 'August', 'September', 'October', 'November', 'December'],
]
const DAY_MS = 86_400_000

/** `date` in local time and in English, as strftime() in the C locale; what is no code stays. `%-d` is `%d` without padding. */
export function strftime(date: Date, format: string): string {
  return format.replace(/%(-?)([A-Za-z%])/g, (written: string, flag: string, code: string) => {
    const text = dateField(date, code)
    if (text === undefined) return written
    return flag === '' ? text : text.replace(/^[0 ]+(?=.)/, '')
  })
}

function dateField(date: Date, code: string): string | undefined {
  const [year, month, day, hours] = [date.getFullYear(), date.getMonth(), date.getDate(), date.getHours()]
  switch (code) {
    case 'a':
      return DAYS[date.getDay()]!.slice(0, 3)
    case 'A':
      return DAYS[date.getDay()]
    case 'b':
      return MONTHS[month]!.slice(0, 3)
    case 'B':
      return MONTHS[month]
    case 'd':
      return digits(day)
    case 'e':
      return String(day).padStart(2)
    case 'H':
      return digits(hours)
    case 'I':
      return digits(hours % 12 || 12)
    case 'j':
      return digits((Date.UTC(year, month, day) - Date.UTC(year, 0, 0)) / DAY_MS, 3)
    case 'm':
      return digits(month + 1)
    case 'M':
      return digits(date.getMinutes())
    case 'p':
      return hours < 12 ? 'AM' : 'PM'
    case 'S':
      return digits(date.getSeconds())
    case 'y':
      return digits(year % 100)
    case 'Y':
      return String(year)
    case '%':
      return '%'
    default:
      return undefined
  }
}

function digits(value: number, count = 2): string {
  return String(value).padStart(count, '0')
}
