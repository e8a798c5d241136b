// A JSON Schema as a grammar of JSON text. What the grammar accepts satisfies the schema; a keyword that it cannot hold
// to is refused, never ignored. Narrower than the schema on purpose: properties come in the schema's order, none that is
// not named unless additionalProperties says so, and numbers have at most 20 digits.
import { Automaton, type CompactAutomaton, END, GrammarTooLarge } from './automaton.ts'
import { decimalRange, type JsonText, jsonText, otherKey } from './json-text.ts'
import { type MarkedText, markedText } from './marked-text.ts'
import { exclusive } from './one-of.ts'
import {
  ALONE,
  ANNOTATIONS,
  count,
  escapePointer,
  formatRefused,
  isOfKind,
  isSchema,
  KEYWORDS,
  KINDS,
  type Kind,
  kindsOf,
  LISTING,
  localReference,
  referenced,
  refusal,
  type Schema,
  takesAnyString,
  tighter,
} from './schema-keywords.ts'
import { isFormat } from './string-formats.ts'
import { hasForm, stringRule } from './string-rule.ts'

const MAX_DEPTH = 200
const MAX_NAME_CHARS = 1000

/** A grammar and where it starts. */
export interface Rules {
  readonly automaton: CompactAutomaton
  readonly root: number
}

/** Any JSON object. */
export function anyJsonObject(): Rules {
  const automaton = new Automaton()
  const { object } = jsonText(automaton)
  automaton.prune(object)
  return { automaton: automaton.compact(), root: object }
}

/** `instead`: in its place. @throws BackendError `bad_request` naming the place and the keyword that cannot be held to */
export function compileJsonSchema(schema: Schema, instead?: MarkedText): Rules {
  try {
    const compiler = new SchemaCompiler(schema)
    const value = compiler.value(schema, '#', END)
    const root = instead ? compiler.automaton.choice(value, compiler.marked(instead)) : value
    if (!compiler.automaton.prune(root)) throw refusal('#', 'accepts no JSON value that can be written down')
    return { automaton: compiler.automaton.compact(), root }
  } catch (error) {
    if (!(error instanceof GrammarTooLarge)) throw error
    throw formatRefused('The response_format schema is too large: make it smaller.')
  }
}

class SchemaCompiler {
  readonly automaton = new Automaton()
  readonly #text: JsonText = jsonText(this.automaton)
  readonly #root: Schema
  /** Entries of the rules that $refs point at. */
  readonly #rules = new Map<string, number>()
  /** Entries of the rules of strings, by what is said of their form. */
  readonly #strings = new Map<string, number>()
  #depth = 0

  constructor(root: Schema) {
    this.#root = root
  }

  /** A value that satisfies `schema`, then `to`. `place` is its JSON pointer. */
  value(schema: unknown, place: string, to: number): number {
    if (schema === true) return this.automaton.call(this.#text.any, to)
    if (schema === false) return this.automaton.node()
    if (!isSchema(schema)) throw refusal(place, 'is not an object, true or false')
    if (++this.#depth > MAX_DEPTH) throw refusal(place, `is nested deeper than ${MAX_DEPTH} levels`)
    const entry = this.#entry(schema, place, to)
    this.#depth--
    return entry
  }

  marked(marked: MarkedText): number {
    return markedText(this.automaton, marked, this.#text.space, (to) => this.value(marked.schema, '#', to))
  }

  #entry(schema: Schema, place: string, to: number): number {
    const keywords = Object.keys(schema).filter((key) => !ANNOTATIONS.has(key))
    const alone = keywords.find((key) => ALONE.includes(key))
    if (alone !== undefined) {
      const other = keywords.find((key) => key !== alone && !(alone === 'const' && LISTING.includes(key)))
      if (other !== undefined) throw refusal(place, `has "${other}" beside "${alone}", which is not supported`)
    }
    const kinds = kindsOf(schema, keywords, place)
    if ('enum' in schema) {
      const other = keywords.find((key) => !LISTING.includes(key))
      if (other !== undefined) throw refusal(place, `has "${other}" beside "enum", which is not supported`)
      if (!Array.isArray(schema.enum)) throw refusal(place, 'has an "enum" that is not a list')
      const only = JSON.stringify(schema.const)
      const values = schema.enum.filter((value) => !('const' in schema) || JSON.stringify(value) === only)
      return this.#literals(values, kinds, to)
    }
    if ('const' in schema) return this.#literals([schema.const], kinds, to)
    if ('$ref' in schema) return this.automaton.call(this.#reference(schema.$ref, place), to)
    if (alone !== undefined) return this.#alternatives(schema[alone], alone, place, to)
    const unknown = keywords.find((key) => key !== 'type' && !KINDS.some((kind) => KEYWORDS[kind].includes(key)))
    if (unknown !== undefined) throw refusal(place, `uses "${unknown}", which is not supported`)
    if ('format' in schema && !isFormat(schema.format)) {
      throw refusal(place, `has the format ${JSON.stringify(schema.format)}, which is not supported`)
    }
    if (keywords.length === 0) return this.automaton.call(this.#text.any, to)
    return this.automaton.choice(...kinds.map((kind) => this.#ofKind(kind, schema, place, to)))
  }

  #literals(values: readonly unknown[], kinds: readonly Kind[], to: number): number {
    const fitting = values.filter((value) => kinds.some((kind) => isOfKind(value, kind)))
    let literals = this.automaton.node()
    for (const value of fitting) literals = this.automaton.orLiteral(literals, JSON.stringify(value), to)
    return literals
  }

  #reference(given: unknown, place: string): number {
    const ref = localReference(given, place)
    const known = this.#rules.get(ref)
    if (known !== undefined) return known
    const entry = this.automaton.node()
    this.#rules.set(ref, entry)
    this.automaton.addJump(entry, this.value(referenced(this.#root, ref, place), ref, END))
    return entry
  }

  #alternatives(list: unknown, keyword: string, place: string, to: number): number {
    if (!Array.isArray(list) || list.length === 0)
      throw refusal(place, `has a "${keyword}" that is not a list of schemas`)
    if (keyword === 'allOf' && list.length > 1) {
      throw refusal(place, 'has an "allOf" of several schemas, which is not supported: write them as one')
    }
    const alternatives =
      keyword === 'oneOf' ? exclusive(list, (ref) => referenced(this.#root, localReference(ref, place), place)) : list
    if (!alternatives) {
      throw refusal(
        place,
        'has a "oneOf" whose schemas are neither of different types nor objects with a property that tells them apart: use "anyOf"',
      )
    }
    const entry = this.automaton.node()
    for (const [index, schema] of alternatives.entries()) {
      this.automaton.addJump(entry, this.value(schema, `${place}/${keyword}/${index}`, to))
    }
    return entry
  }

  #ofKind(kind: Kind, schema: Schema, place: string, to: number): number {
    switch (kind) {
      case 'null':
        return this.automaton.literal('null', to)
      case 'boolean':
        return this.automaton.choice(this.automaton.literal('true', to), this.automaton.literal('false', to))
      case 'string':
        return this.#string(schema, place, to)
      case 'integer':
      case 'number':
        return this.#number(kind, schema, place, to)
      case 'array':
        return this.#array(schema, place, to)
      case 'object':
        return this.#object(schema, place, to)
    }
  }

  #number(kind: 'integer' | 'number', schema: Schema, place: string, to: number): number {
    const bounds = KEYWORDS.number.filter((key) => key in schema)
    if (bounds.length === 0) return this.automaton.call(this.#text[kind], to)
    for (const key of bounds) {
      if (typeof schema[key] !== 'number') throw refusal(place, `has a "${key}" that is not a number`)
    }
    const number = (key: string) => schema[key] as number | undefined
    const low = tighter(number('minimum'), number('exclusiveMinimum'), Math.max)
    const high = tighter(number('maximum'), number('exclusiveMaximum'), Math.min)
    const entry = decimalRange(this.automaton, low, high, kind === 'number', to)
    if (entry === undefined) throw refusal(place, 'has a bound of more than 15 digits, which is not supported')
    return entry
  }

  #string(schema: Schema, place: string, to: number): number {
    if (hasForm(schema)) {
      const key = JSON.stringify(['format', 'pattern', 'minLength', 'maxLength'].map((keyword) => schema[keyword]))
      const rule = this.#strings.get(key) ?? stringRule(this.automaton, schema, place)
      this.#strings.set(key, rule)
      return this.automaton.call(rule, to)
    }
    const least = count(schema, 'minLength', place) ?? 0
    const most = count(schema, 'maxLength', place)
    if (least === 0 && most === undefined) return this.automaton.call(this.#text.string, to)
    const close = this.automaton.literal('"', to)
    const character = (next: number) => this.automaton.call(this.#text.character, next)
    return this.automaton.literal('"', this.#repeat(least, most, close, character))
  }

  /** From `least` to `most` times `item(next)`, then `to`. */
  #repeat(least: number, most: number | undefined, to: number, item: (next: number, index: number) => number): number {
    if (most !== undefined && most < least) return this.automaton.node()
    let rest = to
    if (most === undefined) {
      rest = this.automaton.node()
      this.automaton.addJump(rest, to)
      this.automaton.addJump(rest, item(rest, least))
    }
    for (let index = (most ?? least) - 1; index >= 0; index--) {
      const one = item(rest, index)
      rest = index >= least ? this.automaton.choice(to, one) : one
    }
    return rest
  }

  #array(schema: Schema, place: string, to: number): number {
    const { automaton } = this
    const space = (next: number) => automaton.call(this.#text.space, next)
    const prefix = schema.prefixItems ?? []
    if (!Array.isArray(prefix)) throw refusal(place, 'has a "prefixItems" that is not a list of schemas')
    const least = count(schema, 'minItems', place) ?? 0
    const most = count(schema, 'maxItems', place)
    // The schema of what comes after the prefix is compiled once, whatever the count.
    const items = automaton.node()
    automaton.addJump(items, this.value(schema.items ?? true, `${place}/items`, END))
    const element = (index: number, next: number) =>
      index < prefix.length
        ? this.value(prefix[index], `${place}/prefixItems/${index}`, next)
        : automaton.call(items, next)
    const close = space(automaton.literal(']', to))
    const [smallest, largest] = [Math.max(0, least - 1), most === undefined ? undefined : Math.max(0, most - 1)]
    // Up to the prefix's end every place has its own node; the loop, if there is one, starts after it.
    const counted = largest ?? Math.max(smallest, prefix.length)
    const further = (next: number, index: number) => automaton.literal(',', space(element(index + 1, next)))
    let rest = close
    if (largest === undefined) {
      rest = automaton.node()
      automaton.addJump(rest, close)
      automaton.addJump(rest, further(rest, counted))
    }
    for (let index = counted - 1; index >= 0; index--) {
      const one = further(rest, index)
      rest = index >= smallest ? automaton.choice(close, one) : one
    }
    if (most !== undefined && most < least) return automaton.node()
    const entries = most === 0 ? [] : [space(element(0, rest))]
    if (least === 0) entries.push(automaton.literal(']', to))
    return automaton.literal('[', automaton.choice(...entries))
  }

  #object(schema: Schema, place: string, to: number): number {
    const { automaton } = this
    const space = (next: number) => automaton.call(this.#text.space, next)
    const properties = schema.properties ?? {}
    if (!isSchema(properties)) throw refusal(place, 'has "properties" that are not an object')
    if (!takesAnyString(schema.propertyNames ?? true)) {
      throw refusal(place, 'has "propertyNames" other than strings of any kind, which is not supported')
    }
    const required = schema.required ?? []
    if (!Array.isArray(required) || required.some((name) => typeof name !== 'string')) {
      throw refusal(place, 'has a "required" that is not a list of names')
    }
    const additional = schema.additionalProperties ?? !('properties' in schema)
    const undescribed = required.filter((name) => !Object.hasOwn(properties, name))
    const isRequired = new Set<string>(required)
    // A name that is required but not described is an additional property.
    const names = [...Object.keys(properties), ...new Set<string>(undescribed)]
    const long = names.find((name) => name.length > MAX_NAME_CHARS)
    if (long !== undefined) throw refusal(place, `has a property name of more than ${MAX_NAME_CHARS} characters`)
    const value = (name: string, next: number) => {
      const described = Object.hasOwn(properties, name)
      const at = described ? `${place}/properties/${escapePointer(name)}` : `${place}/additionalProperties`
      return this.value(described ? properties[name] : (schema.additionalProperties ?? true), at, next)
    }
    const close = automaton.literal('}', to)
    // `first`: no property is written yet; `further`: one is, so that the next needs a comma.
    let [first, further] = [close, space(close)]
    if (additional !== false) {
      const entry = automaton.node()
      automaton.addJump(entry, this.value(additional, `${place}/additionalProperties`, END))
      const loop = automaton.node()
      const another = otherKey(automaton, names, automaton.literal(':', space(automaton.call(entry, loop))))
      automaton.addJump(loop, automaton.literal(',', space(another)))
      automaton.addJump(loop, further)
      first = automaton.choice(close, space(another))
      further = loop
    }
    // The names that may come next, and what may come instead: up to the first one that is required.
    let keys: number | undefined
    let instead: { first: number[]; further: number[] } = { first: [first], further: [further] }
    for (const name of names.toReversed()) {
      if (isRequired.has(name)) [keys, instead] = [undefined, { first: [], further: [] }]
      keys = automaton.orLiteral(keys, `${JSON.stringify(name)}:`, space(value(name, further)))
      first = automaton.choice(space(keys), ...instead.first)
      further = automaton.choice(automaton.literal(',', space(keys)), ...instead.further)
    }
    return automaton.literal('{', first)
  }
}
