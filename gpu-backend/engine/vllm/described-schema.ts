// A JSON Schema for vLLM, in which every name that is required is described as well. Pure.
// xgrammar (vLLM 0.32) passes over the others, and an answer without them would be held to less than the schema says.
import { escapePointer, isSchema, type Schema } from '../../sampling/schema-keywords.ts'

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
  return withRequired(Object.fromEntries(entries))
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
