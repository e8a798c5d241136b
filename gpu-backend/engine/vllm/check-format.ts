// What our grammars hold to and vLLM's (xgrammar, vLLM 0.32) do not is refused there. Pure.
import { compileResponseFormat, type ResponseFormat } from '../../grammar/grammar.ts'
import { exclusive } from '../../grammar/one-of.ts'
import { formatRefused, localReference, referenced, refusal, type Schema } from '../../grammar/schema-keywords.ts'
import { subschemas } from './described-schema.ts'

const DECIMALS = 1e6

/** @throws BackendError `bad_request` where a text cannot be held to the format, by either engine */
export function checkFormat(format: ResponseFormat): void {
  if (format.instead) {
    throw formatRefused(
      'An answer that is either a call or in a response_format is not supported on vLLM: leave out one of "tools" and "response_format", or set "tool_choice" to "none".',
    )
  }
  compileResponseFormat(format)
  if (format.type === 'json_schema') checkSchema(format.json_schema.schema, '#', format.json_schema.schema)
}

function checkSchema(schema: Schema, place: string, root: Schema): void {
  // Quotes in what a pattern takes would end the string; of a format and a length only the one is kept.
  if ('pattern' in schema) throw refusal(place, 'uses "pattern", which is not supported on vLLM')
  const length = ['minLength', 'maxLength'].find((key) => key in schema)
  if ('format' in schema && length) {
    throw refusal(place, `has "${length}" beside "format", which is not supported on vLLM`)
  }
  if (isNarrow(schema)) {
    throw refusal(place, 'has bounds nearer to one another than numbers of 6 decimals, which is not supported on vLLM')
  }
  const escaped = besideOthers(schema).find((name) => JSON.stringify(name) !== `"${name}"`)
  // Of the other names, it knows which are taken by their escapes alone, and takes these without them.
  if (escaped !== undefined) {
    throw refusal(
      place,
      `has the property ${JSON.stringify(escaped)} beside additional ones, which is not supported on vLLM for names with quotes, backslashes or control characters`,
    )
  }
  const { oneOf } = schema
  const resolve = (ref: unknown) => referenced(root, localReference(ref, place), place)
  // Any of them is taken there, and so one without the property that tells them apart.
  if (Array.isArray(oneOf) && exclusive(oneOf, resolve) !== oneOf) {
    throw refusal(
      place,
      'has a "oneOf" whose objects do not require what tells them apart, which is not supported on vLLM',
    )
  }
  for (const [part, at] of subschemas(schema)) checkSchema(part, `${place}/${at}`, root)
}

/** The names of an object that may have others. */
function besideOthers({ properties, required, additionalProperties }: Schema): string[] {
  if (!(additionalProperties ?? properties === undefined)) return []
  return [...Object.keys(properties ?? {}), ...((required ?? []) as string[])]
}

/** Of numbers between bounds, it has those of 6 decimals: where there may be none, the answer would be empty. */
function isNarrow({ type, minimum, maximum, exclusiveMinimum, exclusiveMaximum }: Schema): boolean {
  if (type === 'integer') return false
  const [lows, highs] = [
    [minimum, exclusiveMinimum],
    [maximum, exclusiveMaximum],
  ].map((bounds) => bounds.filter((bound) => typeof bound === 'number'))
  if (Math.min(...highs!) - Math.max(...lows!) >= 2 / DECIMALS) return false
  return exclusiveMinimum !== undefined || exclusiveMaximum !== undefined || [...lows!, ...highs!].some(isFine)
}

/** Whether it has more than 6 decimals. */
function isFine(bound: number): boolean {
  return bound !== Math.round(bound * DECIMALS) / DECIMALS
}
