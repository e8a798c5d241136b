import { expect, test } from 'vitest'
import { checkFormat } from '../../../../gpu-backend/engine/vllm/check-format.ts'
import { compileResponseFormat, type ResponseFormat } from '../../../../gpu-backend/grammar/grammar.ts'
import { JSON_SCHEMAS } from '../../../support/json-answers.ts'
import { expectOneSentence } from '../../../support/one-sentence.ts'

type Schema = Readonly<Record<string, unknown>>

const ofSchema = (schema: Schema): ResponseFormat => ({ type: 'json_schema', json_schema: { schema } })
const kinds = (required: readonly string[]) => ({
  oneOf: ['a', 'b'].map((kind) => ({ type: 'object', properties: { kind: { const: kind } }, required })),
})

function refusal(schema: Schema): string {
  try {
    checkFormat(ofSchema(schema))
  } catch (error) {
    return (error as Error).message
  }
  throw new Error('it was not refused')
}

test.each([
  ...Object.values(JSON_SCHEMAS),
  { type: 'array', items: { format: 'date' } },
  kinds(['kind']),
  { properties: { 'a"b': true } },
  { minimum: 0.5, maximum: 0.5 },
  { exclusiveMinimum: 0, maximum: 0.00001 },
  { exclusiveMinimum: 0 },
])('vLLM is asked for %j', (schema) => {
  expect(() => checkFormat(ofSchema(schema))).not.toThrow()
})

test.each<[Schema, string]>([
  [{ type: 'string', pattern: '^a' }, 'at # uses "pattern"'],
  [
    { properties: { 'a/b': { format: 'email', maxLength: 9 } } },
    'at #/properties/a~1b has "maxLength" beside "format"',
  ],
  [{ $defs: { a: kinds([]) }, items: { anyOf: [{ $ref: '#/$defs/a' }] } }, 'at #/$defs/a has a "oneOf"'],
  [{ properties: { 'a"b': true }, additionalProperties: true }, 'at # has the property "a\\"b" beside additional ones'],
  [{ exclusiveMinimum: 0.99999999, exclusiveMaximum: 1 }, 'at # has bounds nearer to one another'],
  [{ type: 'number', minimum: 0.12345678, maximum: 0.12345678 }, 'at # has bounds nearer to one another'],
  [{ items: { required: ['\t'] } }, 'at #/items has the property "\\t"'],
  [{ type: 'array', prefixItems: [{ pattern: 'a' }] }, 'at #/prefixItems/0 uses'],
])('%j, which vLLM would hold to less than it says, is refused on it alone', (schema, named) => {
  expect(compileResponseFormat(ofSchema(schema))).toBeDefined()
  const message = refusal(schema)
  expect(message).toContain(named)
  expectOneSentence(message)
})

test('a schema that our grammars cannot hold to is refused on vLLM as well', () => {
  expect(refusal({ type: 'number', multipleOf: 3 })).toContain('multipleOf')
})

test('an answer that may be calls instead is refused on vLLM, whose grammar of a schema has nothing beside it', () => {
  const instead = { open: '<call>', close: '</call>', schema: { type: 'object' }, isRepeated: true }
  expect(() => checkFormat({ type: 'json_object', instead })).toThrow('not supported on vLLM')
})
