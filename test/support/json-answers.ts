// JSON Schemas as customers write them, and whether a text satisfies one, judged by zod's own reading of the schema.
import * as z from 'zod'
import { tokenBytes } from '../../gpu-backend/model/token-bytes.ts'
import { embeddedTokenizerFiles } from './tiny-model.ts'

export const JSON_SCHEMAS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  'nested objects': {
    type: 'object',
    properties: {
      customer: {
        type: 'object',
        properties: { name: { type: 'string', maxLength: 6 }, vip: { type: 'boolean' } },
        required: ['name', 'vip'],
        additionalProperties: false,
      },
      note: { type: ['string', 'null'], maxLength: 4 },
    },
    required: ['customer'],
    additionalProperties: false,
  },
  arrays: {
    type: 'object',
    properties: {
      tags: { type: 'array', items: { enum: ['red', 'green', 'déjà "vu"'] }, minItems: 1, maxItems: 3 },
      pair: { type: 'array', prefixItems: [{ type: 'integer' }, { type: 'boolean' }], items: false },
      grid: { type: 'array', items: { type: 'array', items: { type: 'integer' }, maxItems: 2 }, maxItems: 2 },
    },
    required: ['tags', 'pair'],
    additionalProperties: false,
  },
  enums: {
    type: 'object',
    properties: { mood: { type: 'string', enum: ['good', 'bad', 'a\\b\n'] }, code: { enum: [1, 'one', null, true] } },
    required: ['mood', 'code'],
    additionalProperties: false,
  },
  numbers: {
    type: 'object',
    properties: {
      age: { type: 'integer', minimum: 0, maximum: 150 },
      below: { type: 'integer', exclusiveMaximum: -7 },
      share: { type: 'number', exclusiveMinimum: 0, maximum: 1 },
      celsius: { type: 'number', minimum: -273.15, exclusiveMaximum: 99.5 },
      any: { type: 'number' },
    },
    required: ['age', 'below', 'share', 'celsius', 'any'],
    additionalProperties: false,
  },
  strings: {
    type: 'object',
    properties: {
      exact: { type: 'string', minLength: 2, maxLength: 2 },
      free: { type: 'string', minLength: 3, maxLength: 9 },
    },
    required: ['exact', 'free'],
    additionalProperties: false,
  },
  'optional fields': {
    type: 'object',
    properties: { a: { type: 'integer' }, b: { const: 'b' }, c: { type: 'null' }, d: { type: 'boolean' } },
    required: ['c'],
    additionalProperties: false,
  },
  'any of several': {
    anyOf: [
      { type: 'object', properties: { kind: { const: 'a' }, n: { type: 'integer' } }, required: ['kind', 'n'] },
      {
        type: 'object',
        properties: { kind: { const: 'b' }, s: { type: 'string', maxLength: 3 } },
        required: ['kind', 's'],
      },
      { type: 'null' },
    ],
  },
  'a recursive definition': {
    $defs: {
      node: {
        type: 'object',
        properties: { value: { type: 'integer' }, next: { anyOf: [{ $ref: '#/$defs/node' }, { type: 'null' }] } },
        required: ['value', 'next'],
        additionalProperties: false,
      },
    },
    $ref: '#/$defs/node',
  },
  'other properties': {
    type: 'object',
    properties: { id: { type: 'integer' }, idle: { type: 'boolean' } },
    required: ['id'],
    additionalProperties: { type: 'string', maxLength: 3 },
  },
}

const MOST = Number.MAX_SAFE_INTEGER

/** Throws where the text is not JSON or does not satisfy the schema. */
export function checkAgainst(schema: Readonly<Record<string, unknown>>, text: string): void {
  // zod takes no whole numbers but those that a double tells apart.
  const value: unknown = JSON.parse(text, (_, item: unknown) =>
    Number.isInteger(item) ? Math.max(-MOST, Math.min(item as number, MOST)) : item,
  )
  const { success, error } = z.fromJSONSchema(schema as Parameters<typeof z.fromJSONSchema>[0]).safeParse(value)
  if (!success) throw new Error(`${text} is not what ${JSON.stringify(schema)} asks for: ${error.message}`)
}

/** A logit_bias for the tokens of the embedded vocabulary with which strings, objects and arrays end. */
export function tokensThatEndJson(bias: number): Record<string, number> {
  const vocabulary = tokenBytes(embeddedTokenizerFiles().tokenizer)!
  const ends = ['"', '}', ']'].map((end) =>
    vocabulary.findIndex((bytes) => bytes && Buffer.from(bytes).toString() === end),
  )
  return Object.fromEntries(ends.map((id) => [String(id), bias]))
}

/** A logit_bias against white space, of which JSON may have any amount. */
export function noBlankTokens(): Record<string, number> {
  const vocabulary = tokenBytes(embeddedTokenizerFiles().tokenizer)!
  const isBlank = (bytes: Uint8Array | undefined) =>
    bytes && bytes.length > 0 && /^\s+$/.test(Buffer.from(bytes).toString())
  return Object.fromEntries(vocabulary.flatMap((bytes, id) => (isBlank(bytes) ? [[String(id), -100]] : [])))
}
