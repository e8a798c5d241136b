// When the schemas of a "oneOf" exclude one another, so that any of them is one of them. Pure.
import { isSchema, KINDS, type Kind, type Schema } from './schema-keywords.ts'

/**
 * Schemas of which no value satisfies two, each as narrow as one of `schemas` or narrower: of different types, or objects
 * that a property tells apart, which is written then. undefined where they may overlap.
 */
export function exclusive(
  schemas: readonly unknown[],
  resolve: (ref: unknown) => unknown,
): readonly unknown[] | undefined {
  if (areDisjoint(schemas)) return schemas
  const objects = schemas.map((schema) => (isSchema(schema) && '$ref' in schema ? resolve(schema.$ref) : schema))
  if (!objects.every(isSchema)) return undefined
  const name = discriminatorOf(objects)
  if (name === undefined) return undefined
  // As references where they can be, since these may lead to themselves.
  if (objects.every((object) => requiredOf(object).includes(name))) return schemas
  return objects.map((object) => ({ ...object, required: [...requiredOf(object), name] }))
}

/** Whether each names its type, and no type comes twice. */
function areDisjoint(schemas: readonly unknown[]): boolean {
  const kinds = schemas.flatMap((schema): unknown[] => {
    if (!isSchema(schema)) return [undefined]
    const values = literalsOf(schema)
    if (values) return values
    return Array.isArray(schema.type) ? schema.type : [schema.type]
  })
  const literal = (kind: unknown) => !KINDS.includes(kind as Kind)
  if (kinds.includes(undefined) || new Set(kinds).size < kinds.length) return false
  if (kinds.includes('integer') && kinds.includes('number')) return false
  return kinds.every(literal) || !kinds.some(literal)
}

/** The property whose value tells the objects apart: each lists its values, and none comes twice. */
function discriminatorOf(schemas: readonly Schema[]): string | undefined {
  const properties = schemas.map((schema) => (schema.type === 'object' && schema.properties) || {})
  return Object.keys(properties[0] ?? {}).find((name) => {
    const values = properties.map((described) => (isSchema(described) ? literalsOf(described[name]) : undefined))
    return values.every((some) => some !== undefined) && new Set(values.flat()).size === values.flat().length
  })
}

/** The values that a schema lists, each once, as JSON; undefined where it lists none. */
function literalsOf(schema: unknown): string[] | undefined {
  if (!isSchema(schema)) return undefined
  const values = 'const' in schema ? [schema.const] : schema.enum
  return Array.isArray(values) ? [...new Set(values.map((value) => JSON.stringify(value)))] : undefined
}

function requiredOf({ required }: Schema): unknown[] {
  return Array.isArray(required) ? required : []
}
