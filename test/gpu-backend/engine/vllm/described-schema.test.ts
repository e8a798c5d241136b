// What becomes of schemas on their way to vLLM; that its answers keep to them is tried on vLLM itself.
import { describe, expect, test } from 'vitest'
import { describedSchema } from '../../../../gpu-backend/engine/vllm/described-schema.ts'
import { formatPattern } from '../../../../gpu-backend/engine/vllm/format-pattern.ts'
import { lengthPattern } from '../../../../gpu-backend/engine/vllm/string-length.ts'
import { JSON_SCHEMAS } from '../../../support/json-answers.ts'

const boolean = { type: 'boolean' }

describe('a schema for vLLM', () => {
  test.each(Object.entries(JSON_SCHEMAS))(
    'of %s is the same but for the lengths of strings, types beside enums, and where what is referred to stands',
    (_, schema) => {
      const isOther = (key: string) => ['pattern', '$ref', '$defs', 'definitions'].includes(key)
      const told = JSON.stringify(describedSchema(schema), (key, value) => (isOther(key) ? undefined : value))
      const asked = JSON.stringify(schema, (key, value) => {
        if (isOther(key) || /^m(in|ax)Length$/.test(key)) return undefined
        return value?.enum ? { enum: value.enum } : value
      })
      expect(JSON.parse(told)).toEqual(JSON.parse(asked))
    },
  )

  test('says lengths as patterns, since xgrammar takes control characters into strings that it counts', () => {
    expect(describedSchema({ type: ['string', 'null'], minLength: 2, maxLength: 5 })).toEqual({
      type: ['string', 'null'],
      pattern: lengthPattern(2, 5),
    })
    expect(describedSchema({ items: { type: 'string', maxLength: 9 } })).toMatchObject({
      items: { type: 'string', pattern: lengthPattern(0, 9) },
    })
  })

  test('names the type that its keywords are about, without which xgrammar takes any JSON', () => {
    expect(describedSchema({ minLength: 1 })).toMatchObject({ type: ['string'] })
    expect(describedSchema({ minimum: 1 })).toEqual({ type: ['number'], minimum: 1 })
    expect(describedSchema({ items: true, format: 'date' })).toMatchObject({ type: ['array', 'string'] })
    for (const open of [{}, { title: 'T' }, { enum: [1] }, { const: 1 }, { $ref: '#' }, { anyOf: [{}] }]) {
      expect(describedSchema(open)).toEqual(open)
    }
  })

  test('says formats as patterns, since the formats of xgrammar are wider', () => {
    expect(describedSchema({ type: ['string', 'null'], format: 'date' })).toEqual({
      type: ['string', 'null'],
      pattern: formatPattern('date'),
    })
    expect(describedSchema({ type: 'string', format: 'uuid' })).toEqual({ type: 'string', format: 'uuid' })
  })

  test('lists the values of its type alone, since xgrammar reads no type beside values', () => {
    expect(describedSchema({ type: ['integer', 'null'], enum: ['a', 1, 1.5, null] })).toEqual({ enum: [1, null] })
    expect(describedSchema({ type: 'string', const: 'a' })).toEqual({ enum: ['a'] })
  })

  test('has whole bounds for integers, without which xgrammar refuses it', () => {
    expect(describedSchema({ type: 'integer', minimum: 0.5, exclusiveMaximum: 9.5 })).toEqual({
      type: 'integer',
      minimum: 1,
      exclusiveMaximum: 10,
    })
    expect(describedSchema({ type: ['integer', 'null'], exclusiveMinimum: -0.5, maximum: -0.5 })).toEqual({
      type: ['integer', 'null'],
      exclusiveMinimum: -1,
      maximum: -1,
    })
    const either = { type: ['integer', 'number', 'null'], minimum: 0.5 }
    expect(describedSchema(either)).toEqual({ type: ['number', 'null'], minimum: 0.5 })
  })

  test('says of every list what it goes on with, and of no more elements than it has', () => {
    expect(describedSchema({ type: 'array', minItems: 1 })).toEqual({ type: 'array', minItems: 1, items: true })
    expect(describedSchema({ prefixItems: [true, { type: 'null' }], maxItems: 1 })).toEqual({
      type: ['array'],
      prefixItems: [{}],
      maxItems: 1,
      items: true,
    })
  })

  test('leaves out what it says of names, for which xgrammar takes numbers and lists, and what is no rule', () => {
    const values = { type: 'array', contains: 1 }
    expect(
      describedSchema({ type: 'object', propertyNames: { type: 'string' }, default: values, examples: [values] }),
    ).toEqual({ type: 'object' })
    expect(describedSchema({ properties: { default: boolean } })).toMatchObject({ properties: { default: boolean } })
  })

  test('has what it refers to in one place, since xgrammar follows no reference through a list or an escaped name', () => {
    const node = { type: 'object', properties: { next: { $ref: '#/anyOf/1' }, whole: { $ref: '#' } } }
    const schema = {
      anyOf: [{ $ref: '#/$defs/List%3Ca~1b%3E' }, node, { $ref: '#/definitions/any' }],
      $defs: { 'List<a/b>': { minimum: 1 }, unused: boolean },
      definitions: { any: true },
    }
    const told = { type: 'object', properties: { next: { $ref: '#/$defs/1' }, whole: { $ref: '#' } } }
    expect(describedSchema(schema)).toEqual({
      anyOf: [{ $ref: '#/$defs/0' }, told, { $ref: '#/$defs/2' }],
      $defs: { 0: { type: ['number'], minimum: 1 }, 1: told, 2: {} },
    })
  })

  test('describes each required name as an additional property', () => {
    expect(describedSchema({ type: 'object', properties: { a: boolean }, required: ['a', 'b'] })).toEqual({
      type: 'object',
      properties: { a: boolean, b: true },
      required: ['a', 'b'],
      additionalProperties: false,
    })
    expect(describedSchema({ required: ['toString'], additionalProperties: boolean })).toEqual({
      type: ['object'],
      properties: { toString: boolean },
      required: ['toString'],
      additionalProperties: boolean,
    })
    // Without properties any others may stand beside it.
    expect(describedSchema({ required: ['a'] })).toMatchObject({ properties: { a: true }, additionalProperties: true })
  })

  test('does so wherever a schema may stand, and not in values', () => {
    const open = { required: ['x'] }
    const [closed] = [describedSchema(open)]
    const places = {
      properties: { required: open, b: { items: open, prefixItems: [open, false] } },
      anyOf: [open, { type: 'null' }],
      additionalProperties: open,
      const: open,
    }
    expect(describedSchema(places)).toEqual({
      properties: { required: closed, b: { type: ['array'], items: closed, prefixItems: [closed, false] } },
      anyOf: [closed, { type: 'null' }],
      additionalProperties: closed,
      const: open,
    })
  })
})
