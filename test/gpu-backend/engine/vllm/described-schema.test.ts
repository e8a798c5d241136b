// What becomes of schemas on their way to vLLM; that its answers keep to them is tried on vLLM itself.
import { describe, expect, test } from 'vitest'
import { describedSchema } from '../../../../gpu-backend/engine/vllm/described-schema.ts'
import { JSON_SCHEMAS } from '../../../support/json-answers.ts'

const boolean = { type: 'boolean' }

describe('a schema for vLLM', () => {
  test.each(Object.entries(JSON_SCHEMAS))('of %s is the same', (_, schema) => {
    expect(describedSchema(schema)).toEqual(schema)
  })

  test('describes each required name as an additional property', () => {
    expect(describedSchema({ type: 'object', properties: { a: boolean }, required: ['a', 'b'] })).toEqual({
      type: 'object',
      properties: { a: boolean, b: true },
      required: ['a', 'b'],
      additionalProperties: false,
    })
    expect(describedSchema({ required: ['toString'], additionalProperties: boolean })).toEqual({
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
      properties: { required: closed, b: { items: closed, prefixItems: [closed, false] } },
      anyOf: [closed, { type: 'null' }],
      additionalProperties: closed,
      const: open,
    })
  })
})
