// JSON whose numbers stay as they are written: an account's has more digits than a double tells apart, and 5.0 would become 5.
// Knows no requests and no templates. Invariant: what `exactJson` reads, JSON.stringify writes with the same numbers.
import type { RuntimeValue } from './python-text.ts'

declare global {
  interface JSON {
    parse(
      text: string,
      reviver: (key: string, value: unknown, context: { readonly source?: string }) => unknown,
    ): unknown
    rawJSON(text: string): object
  }
}

/** Where there is none of these in a JSON text, every number of it is written as JavaScript writes it. */
const MAY_CHANGE = /-0|\d{16}|\d[.eE]/

/** A number that JavaScript would write otherwise. */
export class WrittenNumber extends Number {
  readonly #text: string

  constructor(text: string) {
    super(text)
    this.#text = text
  }

  override toString(): string {
    return this.#text
  }

  override toFixed(): string {
    return this.#text
  }

  toJSON(): object {
    return JSON.rawJSON(this.#text)
  }
}

/** As JSON.parse, with a WrittenNumber where a number would not be written the same again. @throws SyntaxError */
export function exactJson(text: string): unknown {
  if (!MAY_CHANGE.test(text)) return JSON.parse(text)
  return JSON.parse(text, (_, value, { source }) =>
    typeof value === 'number' && source !== undefined && source !== String(value) ? new WrittenNumber(source) : value,
  )
}

/** A copy with plain numbers. */
export function plainNumbers(value: unknown): unknown {
  if (value instanceof WrittenNumber) return Number(value)
  if (Array.isArray(value)) return value.map(plainNumbers)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plainNumbers(item)]))
}

/** Has the values that @huggingface/jinja made of a plain copy of `given` write their numbers as `given` has them. */
export function writeNumbers(given: unknown, value: RuntimeValue): void {
  if (given instanceof WrittenNumber) {
    // An object by itself is true, 0.0 is not.
    Object.assign(value, { value: given, __bool__: () => ({ type: 'BooleanValue', value: Number(given) !== 0 }) })
  } else if (Array.isArray(given)) {
    for (const [i, item] of given.entries()) writeNumbers(item, (value.value as readonly RuntimeValue[])[i]!)
  } else if (typeof given === 'object' && given !== null) {
    const items = value.value as ReadonlyMap<string, RuntimeValue>
    for (const [key, item] of Object.entries(given)) writeNumbers(item, items.get(key)!)
  }
}
