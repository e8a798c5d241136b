// A JSON Schema for vLLM, in words that xgrammar (vLLM 0.32) holds to: of what it passes over, an answer would be held to less
// than the schema says. Pure. Names that are required are described, types that keywords imply are named, lengths and formats
// are patterns, and what is referred to stands in "$defs" of the whole.
import {
  ALONE,
  escapePointer,
  isOfKind,
  isSchema,
  KEYWORDS,
  type Kind,
  kindsOf,
  referenced,
  type Schema,
} from '../../grammar/schema-keywords.ts'
import { formatPattern } from './format-pattern.ts'
import { lengthPattern } from './string-length.ts'

/** Keywords with a schema, with a list of them, and with schemas by name. */
const ONE = ['items', 'additionalProperties']
const LISTS = ['prefixItems', 'anyOf', 'oneOf', 'allOf']
const NAMED = ['properties', '$defs', 'definitions']

/** The schemas that stand in this one, and where. */
export function* subschemas(schema: Schema): Generator<readonly [Schema, string]> {
  for (const [key, value] of Object.entries(schema)) {
    if (ONE.includes(key) && isSchema(value)) yield [value, key]
    const parts = (LISTS.includes(key) && Array.isArray(value)) || (NAMED.includes(key) && isSchema(value)) ? value : {}
    for (const [name, part] of Object.entries(parts as object)) {
      if (isSchema(part)) yield [part, `${key}/${escapePointer(name)}`]
    }
  }
}

/** Of names, ours take any; vLLM looks for keywords in the values of the next; the last two stand elsewhere. */
const LEFT_OUT = ['propertyNames', 'default', 'examples', 'example', '$defs', 'definitions']

/** Where a schema that is referred to stands. */
type Move = (ref: string) => string

/** `root` has been compiled by ours, so that its keywords are of the right types. */
export function describedSchema(root: Schema): Schema {
  const places = new Map<string, string>()
  // xgrammar follows no reference through a list, nor through a name that needs escapes.
  const move = (ref: string) => {
    if (ref === '#') return ref
    if (!places.has(ref)) places.set(ref, String(places.size))
    return `#/$defs/${places.get(ref)}`
  }
  const schema = describedPart(root, move)
  // What these refer to comes behind them.
  const parts = places.entries().map(([ref, place]) => [place, withoutTrue(referenced(root, ref, '#'), move)] as const)
  const defs = Object.fromEntries(parts)
  return places.size === 0 ? schema : { ...schema, $defs: defs }
}

function describedPart(schema: Schema, move: Move): Schema {
  const entries = Object.entries(schema)
    .filter(([key]) => !LEFT_OUT.includes(key))
    .map(([key, value]) => [key, describedValue(key, value, move)] as const)
  const plain = withType(withoutOther(Object.fromEntries(entries)))
  return withRequired(withItems(withForm(withWholeBounds(plain))))
}

/** The values of its type alone, since xgrammar reads no type beside them. */
function withoutOther(schema: Schema): Schema {
  const { type, ...values } = schema
  if (type === undefined || !('enum' in schema || 'const' in schema)) return schema
  const fits = (value: unknown) => kindsOf(schema, [], '#').some((kind) => isOfKind(value, kind))
  const { const: only, ...rest } = values
  return { ...rest, enum: ('const' in schema ? [only] : (schema.enum as unknown[])).filter(fits) }
}

/** The type that its keywords are about, as ours read a schema without one. */
function withType(schema: Schema): Schema {
  const keywords = Object.keys(schema)
  const isPlain = ![...ALONE, 'enum', 'type'].some((key) => key in schema)
  const isTold = Object.values(KEYWORDS).some((known) => known.some((key) => key in schema))
  return isPlain && isTold ? { ...schema, type: kindsOf(schema, keywords, '#') } : schema
}

function takes(schema: Schema, kind: Kind): boolean {
  return 'type' in schema && kindsOf(schema, [], '#').includes(kind)
}

/** xgrammar has integers between whole numbers only. */
function withWholeBounds(schema: Schema): Schema {
  if (!takes(schema, 'integer')) return schema
  // Any number may be whole.
  if (takes(schema, 'number')) return { ...schema, type: kindsOf(schema, [], '#').filter((kind) => kind !== 'integer') }
  const whole = Object.entries({
    minimum: Math.ceil,
    exclusiveMinimum: Math.floor,
    maximum: Math.floor,
    exclusiveMaximum: Math.ceil,
  }).flatMap(([key, to]) => (key in schema ? [[key, to(Number(schema[key]))] as const] : []))
  return { ...schema, ...Object.fromEntries(whole) }
}

/** Lists without "items" end with those of "prefixItems" there, of which there may be no more than "maxItems". */
function withItems(schema: Schema): Schema {
  if (!takes(schema, 'array')) return schema
  const { prefixItems: prefix, maxItems } = schema
  const first = Array.isArray(prefix) ? { prefixItems: prefix.slice(0, maxItems as number | undefined) } : {}
  return { items: true, ...schema, ...first }
}

function withForm(schema: Schema): Schema {
  const { minLength, maxLength, format, ...rest } = schema
  const isCounted = minLength !== undefined || maxLength !== undefined
  const pattern = isCounted
    ? lengthPattern(Number(minLength ?? 0), maxLength as number | undefined)
    : formatPattern(format)
  return pattern === undefined ? schema : { ...rest, pattern }
}

function describedValue(key: string, value: unknown, move: Move): unknown {
  if (key === '$ref') return move(String(value))
  if (ONE.includes(key)) return described(value, move)
  if (LISTS.includes(key) && Array.isArray(value)) return value.map((part) => withoutTrue(part, move))
  if (!NAMED.includes(key) || !isSchema(value)) return value
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, described(one, move)]))
}

function described(value: unknown, move: Move): unknown {
  return isSchema(value) ? describedPart(value, move) : value
}

/** In lists xgrammar knows no `true`. */
function withoutTrue(value: unknown, move: Move): unknown {
  return value === true ? {} : described(value, move)
}

/** A name that is required but not described is an additional property. */
function withRequired(schema: Schema): Schema {
  const { required, properties = {}, additionalProperties } = schema
  if (!Array.isArray(required) || !isSchema(properties)) return schema
  const missing = required.filter((name: string) => !Object.hasOwn(properties, name))
  if (missing.length === 0) return schema
  return {
    ...schema,
    properties: { ...properties, ...Object.fromEntries(missing.map((name) => [name, additionalProperties ?? true])) },
    additionalProperties: additionalProperties ?? !('properties' in schema),
  }
}
