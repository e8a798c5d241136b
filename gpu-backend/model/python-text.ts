// What Python's str() and repr() write, for values of @huggingface/jinja. Knows no templates.

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
