// A JSON Schema for vLLM, in words that xgrammar (vLLM 0.32) holds to: of what it passes over, an answer would be held to less
// than the schema says. Pure. Names that are required are described, types that keywords imply are named, lengths are patterns.
import { ALONE, escapePointer, isSchema, KEYWORDS, kindsOf, type Schema } from '../../sampling/schema-keywords.ts'
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

/** `schema` has been compiled by ours, so that its keywords are of the right types. */
export function describedSchema(schema: Schema): Schema {
  const entries = Object.entries(schema).map(([key, value]) => [key, describedValue(key, value)] as const)
  return withRequired(withLength(withType(Object.fromEntries(entries))))
}

/** The type that its keywords are about, as ours read a schema without one. */
function withType(schema: Schema): Schema {
  const keywords = Object.keys(schema)
  const isPlain = ![...ALONE, 'enum', 'type'].some((key) => key in schema)
  const isTold = Object.values(KEYWORDS).some((known) => known.some((key) => key in schema))
  return isPlain && isTold ? { ...schema, type: kindsOf(schema, keywords, '#') } : schema
}

function withLength({ minLength, maxLength, ...schema }: Schema): Schema {
  if (minLength === undefined && maxLength === undefined) return schema
  return { ...schema, pattern: lengthPattern(Number(minLength ?? 0), maxLength as number | undefined) }
}

function describedValue(key: string, value: unknown): unknown {
  if (ONE.includes(key)) return described(value)
  if (LISTS.includes(key) && Array.isArray(value)) return value.map(described)
  if (!NAMED.includes(key) || !isSchema(value)) return value
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, described(one)]))
}

function described(value: unknown): unknown {
  return isSchema(value) ? describedSchema(value) : value
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
