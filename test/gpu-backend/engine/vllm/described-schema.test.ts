// What becomes of schemas on their way to vLLM; that its answers keep to them is tried on vLLM itself.
import { describe, expect, test } from 'vitest'
import { describedSchema } from '../../../../gpu-backend/engine/vllm/described-schema.ts'
import { lengthPattern } from '../../../../gpu-backend/engine/vllm/string-length.ts'
import { JSON_SCHEMAS } from '../../../support/json-answers.ts'

const boolean = { type: 'boolean' }

describe('a schema for vLLM', () => {
  test.each(Object.entries(JSON_SCHEMAS))('of %s is the same but for the lengths of strings', (_, schema) => {
    const told = JSON.stringify(describedSchema(schema), (key, value) => (key === 'pattern' ? undefined : value))
    const asked = JSON.stringify(schema, (key, value) => (/^m(in|ax)Length$/.test(key) ? undefined : value))
    expect(JSON.parse(told)).toEqual(JSON.parse(asked))
  })

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
    for (const open of [{}, { title: 'T' }, { enum: [1] }, { const: 1 }, { $ref: '#' }, { anyOf: [true] }]) {
      expect(describedSchema(open)).toEqual(open)
    }
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
      $defs: { one: open },
      properties: { required: open, b: { items: open, prefixItems: [open, false] } },
      anyOf: [open, { type: 'null' }],
      additionalProperties: open,
      const: open,
    }
    expect(describedSchema(places)).toEqual({
      $defs: { one: closed },
      properties: { required: closed, b: { type: ['array'], items: closed, prefixItems: [closed, false] } },
      anyOf: [closed, { type: 'null' }],
      additionalProperties: closed,
      const: open,
    })
  })
})
