// What a JSON Schema's keywords say, read strictly: a keyword of a wrong type or an unknown one is refused by its place.
// Knows nothing of grammars; json-schema.ts makes one of what is read here.
import { BackendError } from '../errors.ts'

export type Schema = Readonly<Record<string, unknown>>
export type Kind = 'null' | 'boolean' | 'object' | 'array' | 'number' | 'integer' | 'string'

/** Keywords that say nothing about which values are valid. */
export const ANNOTATIONS = new Set([
  ...'$schema $id $comment $defs definitions title description default examples deprecated readOnly writeOnly'.split(
    ' ',
  ),
  // OpenAPI's; of "discriminator", which alternative it is, the alternatives say themselves.
  ...['discriminator', 'example'],
])
export const KEYWORDS: Readonly<Record<Kind, readonly string[]>> = {
  null: [],
  boolean: [],
  object: ['properties', 'required', 'additionalProperties', 'propertyNames'],
  array: ['items', 'prefixItems', 'minItems', 'maxItems'],
  number: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'],
  integer: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'],
  string: ['minLength', 'maxLength', 'format', 'pattern'],
}
export const KINDS = Object.keys(KEYWORDS) as Kind[]
/** Keywords that decide alone: beside them only annotations. */
export const ALONE = ['$ref', 'const', 'anyOf', 'oneOf', 'allOf']
/** Keywords of values that are listed, which may stand together: Pydantic writes all of them for a single one. */
export const LISTING = ['type', 'enum', 'const']
/** Counted elements and characters cost a node each. */
const MAX_COUNT = 10_000

/** A format that an answer cannot be held to, in one sentence. */
export function formatRefused(message: string): BackendError {
  return new BackendError('bad_request', message, { param: 'response_format' })
}

/** `place` in the schema is a JSON pointer; `problem` goes on from it. */
export function refusal(place: string, problem: string): BackendError {
  return formatRefused(`The response_format schema at ${place} ${problem}.`)
}

/** Whether it is a schema with keywords, which `true` and `false` are not. */
export function isSchema(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Whether it lets every string through. */
export function takesAnyString(schema: unknown): boolean {
  if (!isSchema(schema)) return schema === true
  return Object.entries(schema).every(([key, value]) => ANNOTATIONS.has(key) || (key === 'type' && value === 'string'))
}

/** The kinds of values that the schema lets through; without "type" those that its keywords are about. */
export function kindsOf(schema: Schema, keywords: readonly string[], place: string): readonly Kind[] {
  if (!('type' in schema)) {
    const implied = KINDS.filter((kind) => kind !== 'integer' && keywords.some((key) => KEYWORDS[kind].includes(key)))
    return implied.length > 0 ? implied : KINDS
  }
  const types: unknown[] = Array.isArray(schema.type) ? schema.type : [schema.type]
  for (const type of types) {
    if (!KINDS.includes(type as Kind))
      throw refusal(place, `has the type ${JSON.stringify(type)}, which JSON does not know`)
  }
  return types as Kind[]
}

/** Whether `value` is of `kind`. */
export function isOfKind(value: unknown, kind: Kind): boolean {
  switch (kind) {
    case 'null':
      return value === null
    case 'array':
      return Array.isArray(value)
    case 'object':
      return isSchema(value)
    case 'integer':
      return Number.isInteger(value)
    default:
      return typeof value === kind
  }
}

/** The count that `key` gives, where it does. */
export function count(schema: Schema, key: string, place: string): number | undefined {
  const value = schema[key]
  if (value === undefined) return undefined
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0) {
    throw refusal(place, `has a "${key}" that is not a count`)
  }
  if (value > MAX_COUNT) throw refusal(place, `has a "${key}" above ${MAX_COUNT}, which is not supported`)
  return value
}

/** The one of two bounds that leaves less, `of` being the one's choice of two numbers. */
export function tighter(
  inclusive: number | undefined,
  exclusive: number | undefined,
  of: (x: number, y: number) => number,
) {
  if (inclusive === undefined && exclusive === undefined) return undefined
  if (exclusive === undefined) return { value: inclusive!, exclusive: false }
  const isTighter = inclusive === undefined || of(exclusive, inclusive) === exclusive
  return { value: isTighter ? exclusive : inclusive, exclusive: isTighter }
}

/** A property's name as a part of a JSON pointer (RFC 6901). */
export const escapePointer = (name: string) => name.replaceAll('~', '~0').replaceAll('/', '~1')

/** A "$ref" that leads to a place within the schema. */
export function localReference(ref: unknown, place: string): string {
  if (typeof ref === 'string' && /^#(\/|$)/.test(ref)) return ref
  throw refusal(place, `has the $ref ${JSON.stringify(ref)}, but only those within the schema ("#/...") are supported`)
}

/** What `ref` points at. */
export function referenced(root: Schema, ref: string, place: string): unknown {
  let target: unknown = root
  for (const part of ref.split('/').slice(1)) {
    const key = unescapePointer(part)
    if (typeof target !== 'object' || target === null || key === undefined || !Object.hasOwn(target, key)) {
      throw refusal(place, `has the $ref "${ref}", which points at nothing`)
    }
    target = (target as Schema)[key]
  }
  return target
}

/** The name that a part of a JSON pointer in a URI fragment stands for; undefined: its percent-encoding is broken. */
function unescapePointer(part: string): string | undefined {
  try {
    return decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~')
  } catch {
    return undefined
  }
}
