import { describe, expect, test } from 'vitest'
import * as z from 'zod'
import { BackendError } from '../../../gpu-backend/errors.ts'
import { Grammars, type ResponseFormat } from '../../../gpu-backend/grammar/grammar.ts'
import { buildTokenTrie } from '../../../gpu-backend/grammar/token-trie.ts'
import { tokenBytes } from '../../../gpu-backend/model/token-bytes.ts'
import { collectGarbage } from '../../support/collect-garbage.ts'
import { checkAgainst, JSON_SCHEMAS } from '../../support/json-answers.ts'
import { expectOneSentence } from '../../support/one-sentence.ts'
import fc from '../../support/properties.ts'
import { seededRandom } from '../../support/seeded-random.ts'
import { embeddedTokenizerFiles } from '../../support/tiny-model.ts'

type Schema = Readonly<Record<string, unknown>>

const files = embeddedTokenizerFiles()
const vocabulary = tokenBytes(files.tokenizer)!
const END = files.eosTokenIds[0]!
const QUOTE = tokenOf('"')
const grammars = new Grammars(buildTokenTrie(vocabulary))

/** Every byte and nothing else: token t is byte t, and 256 is the end. */
const bytewise = new Grammars(buildTokenTrie(Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte))))
const BYTE_END = 256

/** The token that is one character. */
function tokenOf(character: string): number {
  return vocabulary.findIndex((bytes) => bytes?.length === 1 && bytes[0] === character.charCodeAt(0))
}

function ofSchema(schema: Schema): ResponseFormat {
  return { type: 'json_schema', json_schema: { name: 'answer', schema } }
}

/** Whether a whole text can be written under the format. */
function accepts(format: ResponseFormat, text: string): boolean {
  const matcher = bytewise.matcher(format, [BYTE_END])!
  for (const token of [...Buffer.from(text), BYTE_END]) {
    const logits = new Float32Array(BYTE_END + 1)
    matcher.mask(logits)
    if (logits[token] !== 0) return false
    matcher.accept(token)
  }
  return true
}

/** A text by random tokens of the embedded vocabulary; undefined where it did not come to an end. */
function randomText(format: ResponseFormat, seed: number, maxTokens = 400): string | undefined {
  const random = seededRandom(seed)
  const matcher = grammars.matcher(format, [END])!
  const text: Uint8Array[] = []
  for (let count = 0; count < maxTokens; count++) {
    const logits = new Float32Array(vocabulary.length)
    matcher.mask(logits)
    const allowed = [...logits.keys()].filter((id) => logits[id] === 0)
    // Strings would hardly ever end if their end were one token among thousands.
    const ending = [END, QUOTE].filter((id) => allowed.includes(id))
    const token = ending.length > 0 && random() < 0.3 ? ending[0]! : allowed[Math.floor(random() * allowed.length)]!
    if (token === END) return Buffer.concat(text).toString()
    text.push(vocabulary[token]!)
    matcher.accept(token)
  }
  return undefined
}

/** How many tokens of a string, its characters one by one, can be written, and what stands against the next one. */
function tokensWritten(format: ResponseFormat, string: string): { readonly count: number; readonly error?: unknown } {
  const matcher = grammars.matcher(format, [END])!
  let count = 0
  const error = thrown(() => {
    for (const character of JSON.stringify(string)) {
      matcher.mask(new Float32Array(vocabulary.length))
      matcher.accept(tokenOf(character))
      count++
    }
  })
  return { count, error }
}

describe.each(Object.entries(JSON_SCHEMAS))('a schema with %s', (_, schema) => {
  test('is satisfied by whatever random tokens come to an end', () => {
    let ended = 0
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const text = randomText(ofSchema(schema), seed)
        if (text === undefined) return
        ended++
        expect(text.isWellFormed()).toBe(true)
        checkAgainst(schema, text)
      }),
      { numRuns: 60, seed: 1 },
    )
    expect(ended).toBeGreaterThan(20)
  })
})

describe('any JSON object', () => {
  const format: ResponseFormat = { type: 'json_object' }

  test('is what random tokens come to', () => {
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const text = randomText(format, seed)
        if (text !== undefined) expect(JSON.parse(text)).toBeTypeOf('object')
      }),
      { numRuns: 60, seed: 1 },
    )
  })

  test('can be written, compactly or indented, in whatever script', () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.string({ unit: 'grapheme' }), fc.jsonValue()),
        fc.constantFrom(0, 2),
        (value, indent) => {
          const json = JSON.stringify(value, null, indent)
          // Negative zero aside, the grammar leaves out only numbers that have more digits than it allows.
          fc.pre(!/\d{21}|e[+-]?\d{3}/.test(json))
          expect(accepts(format, json)).toBe(true)
        },
      ),
      { seed: 1 },
    )
  })

  test.each(['[]', '1', '{"a":01}', '{"a":1,}', '{"a"}', '{"a":"\n"}', '{"a":"\\x"}', '{"a":"\\ud800"}', ' {}', '{}}'])(
    'is not %j',
    (text) => expect(accepts(format, text)).toBe(false),
  )
})

describe('numbers between bounds', () => {
  const bound = fc.tuple(fc.integer({ min: -3000, max: 3000 }), fc.constantFrom(1, 10, 100)).map(([n, d]) => n / d)

  test('are accepted exactly where the bounds let them through', () => {
    fc.assert(
      fc.property(
        fc.record({
          low: bound,
          high: bound,
          value: bound,
          lowKey: fc.boolean(),
          highKey: fc.boolean(),
          whole: fc.boolean(),
        }),
        ({ low, high, value, lowKey, highKey, whole }) => {
          const schema = {
            type: whole ? 'integer' : 'number',
            [lowKey ? 'minimum' : 'exclusiveMinimum']: low,
            [highKey ? 'maximum' : 'exclusiveMaximum']: high,
          }
          // A range without any number is refused before; a number in between has to be there.
          fc.pre(Math.floor(high) - Math.ceil(low) > 1)
          const inside = (lowKey ? value >= low : value > low) && (highKey ? value <= high : value < high)
          const fits = inside && (!whole || Number.isInteger(value))
          expect(accepts(ofSchema(schema), JSON.stringify(value))).toBe(fits)
        },
      ),
      { numRuns: 300, seed: 1 },
    )
  })

  const [int64, uint64] = [2 ** 63, 2 ** 64]
  test.each([
    ['an identifier without bounds', {}, '175928847299117063', true],
    ['an identifier that is negative', {}, '-175928847299117063', true],
    ['the greatest of 64 bits', { minimum: 0 }, '18446744073709551615', true],
    ['an identifier from 1', { minimum: 1 }, '175928847299117063', true],
    ['an identifier above 0', { exclusiveMinimum: 0 }, '175928847299117063', true],
    ['an identifier below 0', { maximum: 0 }, '-175928847299117063', true],
    ['one of the wrong sign', { maximum: 0 }, '175928847299117063', false],
    ['an identifier within 64 bits', { minimum: -int64, maximum: int64 }, '1759288472991170631', true],
    ['a negative one', { minimum: -int64, maximum: int64 }, '-1759288472991170631', true],
    ['one beyond them', { minimum: -int64, maximum: int64 }, '9223372036854775809', false],
    ['one within 64 bits without a sign', { maximum: uint64 }, '18446744073709547520', true],
    ['one beyond those', { maximum: uint64 }, '18446744073709551616', false],
    ['one below the least', { minimum: 10 ** 15 }, '999999999999999', false],
    ['one above the least', { minimum: 10 ** 15 }, '1759288472991170631', true],
    ['the greatest that a double tells apart', { maximum: 2 ** 53 - 1 }, '9007199254740991', true],
    ['the next', { maximum: 2 ** 53 - 1 }, '9007199254740992', false],
    ['one of 21 digits', {}, '175928847299117063123', false],
    ['one of 21 digits between bounds', { minimum: 0 }, '175928847299117063123', false],
  ])('of more than 15 digits are whole: %s', (_, bounds, text, fits) => {
    for (const type of ['integer', 'number']) expect(accepts(ofSchema({ type, ...bounds }), text)).toBe(fits)
  })

  test('that a double does not keep are refused where a number has to be above them', () => {
    for (const bounds of [{ minimum: 2 ** 53 }, { minimum: 0.12345678901234566 }, { maximum: -(2 ** 60) }]) {
      expect(() => grammars.matcher(ofSchema({ type: 'number', ...bounds }), [END])).toThrow('more than 15 digits')
    }
  })
})

describe('a text between marks in place of JSON', () => {
  const schema = { type: 'object', properties: { name: { enum: ['time'] } }, required: ['name'] }
  const instead = { open: '<call>', close: '</call>', schema, isRepeated: true }
  const answer = { type: 'object', properties: { a: { $ref: '#/$defs/a' } }, $defs: { a: { type: 'null' } } }
  const formats: readonly ResponseFormat[] = [
    { ...ofSchema(answer), instead },
    { type: 'json_object', instead },
  ]
  const call = '<call>\n{"name": "time"}\n</call>'

  test.each([
    ['{"a":null}', true],
    [call, true],
    [call.replaceAll('\n', ''), true],
    [`${call}\n${call}`, true],
    [`${call}{"a":null}`, false],
    [`{"a":null}${call}`, false],
    ['<call>{"name": "tide"}</call>', false],
    ['<call>{"name": "time"}', false],
    ['text', false],
  ])('lets %j through: %j', (text, fits) => {
    for (const format of formats) expect(accepts(format, text)).toBe(fits)
  })

  test('may be wanted once', () => {
    for (const format of formats) {
      const once: ResponseFormat = { ...format, instead: { ...instead, isRepeated: false } }
      expect([call, call + call].map((text) => accepts(once, text))).toEqual([true, false])
    }
  })
})

describe('objects', () => {
  const schema = { type: 'object', properties: { id: { type: 'integer' }, 'a/b': { type: 'null' } }, required: ['id'] }

  test.each([
    ['{"id":1}', true],
    ['{"id":1,"a/b":null}', true],
    ['{ "id": 1, "a/b": null }', true],
    ['{"a/b":null}', false],
    ['{"id":1,"other":2}', false],
    ['{"id":1,"id":2}', false],
    ['{"id":1.5}', false],
  ])('as in %s are held to their properties', (text, fits) => {
    expect(accepts(ofSchema(schema), text)).toBe(fits)
  })

  test.each([
    ['{"id":1,"other":"x"}', true],
    ['{"id":1,"idx":"x","i":"y"}', true],
    ['{"id":1,"id":"x"}', false],
    ['{"id":1,"\\u0069d":"x"}', false],
    ['{"id":1,"other":2}', false],
  ])('as in %s may have other properties, but never a described one twice', (text, fits) => {
    const open = { ...schema, additionalProperties: { type: 'string' } }
    expect(accepts(ofSchema(open), text)).toBe(fits)
  })
})

describe('strings of a format', () => {
  const FORMATS: Readonly<Record<string, { readonly is: readonly string[]; readonly isNot: readonly string[] }>> = {
    'date-time': {
      is: ['2026-11-27T21:27:22Z', '1999-02-28T00:00:00.123456+14:00', '2024-02-29T23:59:59-05:30'],
      isNot: [
        '2026-11-27',
        '2026-11-27T21:27:22',
        '2026-11-27 21:27:22Z',
        '2026-11-27T24:00:00Z',
        '2025-02-29T00:00:00Z',
      ],
    },
    date: {
      is: ['2026-01-31', '2026-04-30', '2000-02-29', '2004-02-29', '1996-12-10'],
      isNot: [
        '2026-04-31',
        '2026-00-10',
        '2026-13-01',
        '1900-02-29',
        '2026-02-29',
        '2026-2-9',
        '26-02-09',
        '2026-01-00',
      ],
    },
    time: {
      is: ['00:00:00Z', '23:59:59.5+01:00'],
      isNot: ['24:00:00Z', '12:60:00Z', '12:00:00', '12:00Z', '1:00:00Z'],
    },
    duration: {
      is: ['P1D', 'P1Y2M3D', 'PT36H', 'P2W', 'P1DT2H', 'PT1M30S', 'P1M'],
      isNot: ['P', 'PT', 'P1', '1D', 'P1DT', 'P1D2M', 'PT1H30S', 'P1W2D'],
    },
    email: {
      is: ['a@b.ch', 'first.last+tag@mail.example.com', `${'a'.repeat(64)}@example.org`],
      isNot: [
        'a@b',
        '@b.ch',
        'a.@b.ch',
        '.a@b.ch',
        'a..b@c.ch',
        'a b@c.ch',
        'a@-b.ch',
        'a@b.c',
        `${'a'.repeat(65)}@b.ch`,
      ],
    },
    hostname: {
      is: ['localhost', 'a.b-c.example.com', 'xn--bcher-kva.example', '1.2.3'],
      isNot: ['', '-a', 'a-', 'a..b', '.a', 'a.', 'a_b', 'a.-b', 'a'.repeat(64)],
    },
    ipv4: {
      is: ['0.0.0.0', '255.250.199.9', '10.20.30.40'],
      isNot: ['256.0.0.1', '1.2.3', '01.2.3.4', '1.2.3.4.5', '1.2.3.'],
    },
    ipv6: {
      is: ['::', '::1', '1::', '2001:db8::8a2E:370:7334', '1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7::', '::2:3:4:5:6:7:8'],
      isNot: [
        '',
        ':',
        '1',
        '1:2:3:4:5:6:7',
        '1:2:3:4:5:6:7:8:9',
        '1::2::3',
        '12345::',
        '1:2:3:4::5:6:7:8',
        ':1::',
        'g::',
      ],
    },
    uuid: {
      is: ['123e4567-e89b-12d3-a456-426614174000', '123E4567-E89B-42D3-B456-426614174000'],
      isNot: [
        '123e4567-e89b-02d3-a456-426614174000',
        '123e4567-e89b-12d3-c456-426614174000',
        '123e4567e89b12d3a456426614174000',
      ],
    },
  }

  test.each(Object.entries(FORMATS))('as %s are nothing else', (format, { is, isNot }) => {
    for (const text of is) expect([text, accepts(ofSchema({ format }), JSON.stringify(text))]).toEqual([text, true])
    for (const text of isNot) expect([text, accepts(ofSchema({ format }), JSON.stringify(text))]).toEqual([text, false])
  })

  test.each(Object.keys(FORMATS).filter((format) => format !== 'time'))(
    'as %s satisfy whoever checks them, however they are written',
    (format) => {
      for (let seed = 0; seed < 40; seed++) {
        const text = randomText(ofSchema({ type: 'string', format }), seed)
        if (text !== undefined) checkAgainst({ type: 'string', format }, text)
      }
    },
  )

  test('may have a length as well, of which none is too long', () => {
    const takes = (schema: Schema, text: string) =>
      thrown(() => grammars.check(ofSchema(schema))) === undefined && accepts(ofSchema(schema), JSON.stringify(text))
    for (const [format, { is }] of Object.entries(FORMATS)) {
      for (const text of is) {
        const { length } = text
        expect([text, takes({ format, minLength: length, maxLength: length }, text)]).toEqual([text, true])
        expect([text, takes({ format, minLength: length + 1 }, text)]).toEqual([text, false])
        expect([text, takes({ format, maxLength: length - 1 }, text)]).toEqual([text, false])
      }
    }
    for (const maxLength of [64, 100, 128, 200, 254, 320]) grammars.check(ofSchema({ format: 'email', maxLength }))
  })

  test('may be null, and come in any number', () => {
    const dates = { type: 'array', items: { type: ['string', 'null'], format: 'date' } }
    expect(accepts(ofSchema(dates), '["2026-11-27",null,"2024-02-29"]')).toBe(true)
    expect(accepts(ofSchema(dates), '["x"]')).toBe(false)
    const properties = Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`p${i}`, { format: 'date-time' }]))
    expect(thrown(() => grammars.check(ofSchema({ type: 'object', properties })))).toBeUndefined()
  })
})

describe('strings of a pattern', () => {
  const TEXTS = [
    '',
    'a',
    'aa',
    'ab',
    'b',
    'ba',
    'abc',
    'a-b',
    'a b',
    'é',
    '🍰',
    '"',
    '\\',
    '\n',
    'Ab1_',
    '1.5',
    '2026',
    '\u2028',
  ]
  test.each([
    ...['^a+$', 'a', '^a|b$', '^(?:a|b)*$', '^.$', '^\\w+$', '\\d', '^[^a-c]*$', '^[\\w.-]+$', '^a?b?c?$', '^$', ''],
    ...[
      '^\\S+$',
      '^a{2}$',
      '^[a-z]{2,}$',
      '^\\d{1,3}(\\.\\d{1,2})?$',
      '[\\u00e9]',
      '^["\\\\]$',
      '^\\W$',
      '^(a|)b*?$',
      '\\n',
      '^[^]{2}$',
      '🍰',
      '^[é-🍰]$',
    ],
  ])('%j are those that it is found in', (pattern) => {
    const expression = new RegExp(pattern, 'u')
    for (const text of TEXTS) {
      expect([text, accepts(ofSchema({ pattern }), JSON.stringify(text))]).toEqual([text, expression.test(text)])
    }
  })

  test('are found by random patterns as by JavaScript', () => {
    const atom = fc.constantFrom('a', 'b', '.', '[ab]', '[^a]', '\\d', '(?:ab|c)', '(a|)', 'é')
    const piece = fc.tuple(atom, fc.constantFrom('', '*', '+', '?', '{2}', '{0,2}', '{1,}')).map(([a, b]) => a + b)
    const pattern = fc
      .tuple(fc.constantFrom('', '^'), fc.array(piece, { maxLength: 4 }), fc.constantFrom('', '$'))
      .map(([begin, pieces, end]) => begin + pieces.join('') + end)
    const text = fc.string({ unit: fc.constantFrom('a', 'b', 'c', '1', 'é', '\n'), maxLength: 5 })
    fc.assert(
      fc.property(fc.array(pattern, { minLength: 1, maxLength: 3 }), text, (patterns, string) => {
        const fits = new RegExp(patterns.join('|'), 'u').test(string)
        expect(accepts(ofSchema({ pattern: patterns.join('|') }), JSON.stringify(string))).toBe(fits)
      }),
      { numRuns: 500, seed: 1 },
    )
  })

  test('have the format and the length as well', () => {
    const schema = { type: 'string', format: 'date', pattern: '^20', maxLength: 10, minLength: 10 }
    expect(accepts(ofSchema(schema), '"2026-02-28"')).toBe(true)
    expect(accepts(ofSchema(schema), '"1926-02-28"')).toBe(false)
    expect(accepts(ofSchema({ pattern: '^é+$', minLength: 2, maxLength: 3 }), '"ééé"')).toBe(true)
    for (const text of ['"é"', '"éééé"', '"éa"']) {
      expect(accepts(ofSchema({ pattern: '^é+$', minLength: 2, maxLength: 3 }), text)).toBe(false)
    }
  })

  test('may be of a thousand characters', () => {
    for (const [schema, text] of [
      [{ pattern: '^[A-Z]', maxLength: 2000 }, `A${'é'.repeat(1999)}`],
      [{ pattern: '^.{1,1000}$' }, '🍰'.repeat(1000)],
    ] as const) {
      const beyond = [...text, 'b'].join('')
      expect(accepts(ofSchema(schema), JSON.stringify(text))).toBe(true)
      expect(accepts(ofSchema(schema), JSON.stringify(beyond))).toBe(false)
    }
    const every = Array.from({ length: 128 }, (_, point) => String.fromCodePoint(point)).join('')
    expect(accepts(ofSchema({ pattern: '^[^]*$' }), JSON.stringify(every))).toBe(true)
  })

  test('are too many together where each takes long to hold to its length', () => {
    const every = (count: number) =>
      Array.from({ length: count }, (_, i) => ({
        pattern: `^(?:[acegikmoq]?){24}$|^${i}$`,
        maxLength: 4,
      }))
    const check = (count: number) =>
      thrown(() => bytewise.check(ofSchema({ type: 'array', prefixItems: every(count) })))
    expect(check(1)).toBeUndefined()
    expect(String(check(100))).toMatch('too large')
  })

  test('that say how often nothing comes are read at once', () => {
    const nothing = `^a${'('.repeat(300)}${'){1000}'.repeat(200)}${')'.repeat(100)}$`
    expect(accepts(ofSchema({ pattern: nothing }), '"a"')).toBe(true)
    expect(accepts(ofSchema({ pattern: nothing }), '"aa"')).toBe(false)
  })

  test('as Zod before 4.6 wrote it for email are those that it is found in, though it looks ahead', () => {
    const pattern = String.raw`^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$`
    const local = fc.string({ unit: fc.constantFrom('a', 'Z7', '.', "'", '-', '+', '_', 'é'), maxLength: 5 })
    const host = fc.string({ unit: fc.constantFrom('a', 'Z7', '.', '-', '@'), maxLength: 4 })
    const address = fc.tuple(local, fc.constantFrom('@', '@b', ''), host, fc.constantFrom('.ch', 'z.Org', '.c', ''))
    let found = 0
    fc.assert(
      fc.property(address, (parts) => {
        const text = parts.join('')
        const fits = new RegExp(pattern, 'u').test(text)
        if (fits) found++
        expect([text, accepts(ofSchema({ pattern }), JSON.stringify(text))]).toEqual([text, fits])
      }),
      { numRuns: 3000, seed: 1 },
    )
    expect(found).toBeGreaterThan(100)
    expect(accepts(ofSchema({ type: 'string', format: 'email', pattern }), '"a.b@example.com"')).toBe(true)
    expect(accepts(ofSchema({ type: 'string', format: 'email', pattern }), '"a.b@example"')).toBe(false)
  })

  test('that Zod writes beside its formats are held to', () => {
    const shape = { email: z.email(), uuid: z.uuid(), at: z.iso.datetime(), on: z.iso.date(), ip: z.ipv4() }
    const schema = z.toJSONSchema(z.object(shape)) as Schema
    const value = {
      ...{ email: 'a.b@example.com', uuid: '123e4567-e89b-12d3-a456-426614174000', at: '2026-11-27T21:27:22.5Z' },
      ...{ on: '2024-02-29', ip: '10.0.0.255' },
    }
    expect(accepts(ofSchema(schema), JSON.stringify(value))).toBe(true)
    expect(accepts(ofSchema(schema), JSON.stringify({ ...value, on: '2023-02-29' }))).toBe(false)
    expect(accepts(ofSchema(schema), JSON.stringify({ ...value, email: 'a.b@example' }))).toBe(false)
    for (let seed = 0; seed < 20; seed++) {
      const text = randomText(ofSchema(schema), seed, 2000)
      if (text !== undefined) checkAgainst(schema, text)
    }
  })
})

describe('alternatives of which one must fit', () => {
  const pet = (kind: string, required: readonly string[]): Schema => ({
    type: 'object',
    properties: { [kind]: { type: 'integer' }, kind: { const: kind } },
    required,
  })
  const of = (required: readonly string[]): Schema => ({
    $defs: { cat: pet('cat', required), dog: pet('dog', required) },
    oneOf: [{ $ref: '#/$defs/cat' }, { $ref: '#/$defs/dog' }],
    discriminator: { propertyName: 'kind', mapping: { cat: '#/$defs/cat', dog: '#/$defs/dog' } },
  })

  test.each([[['kind']], [[]]])('are told apart by a property, which is written: %j of it required', (required) => {
    expect(accepts(ofSchema(of(required)), '{"cat":1,"kind":"cat"}')).toBe(true)
    expect(accepts(ofSchema(of(required)), '{"kind":"dog"}')).toBe(true)
    for (const text of ['{"cat":1,"kind":"dog"}', '{"cat":1}', '{}', '{"kind":"cow"}']) {
      expect(accepts(ofSchema(of(required)), text)).toBe(false)
    }
  })

  test('may hold one another', () => {
    const expression = { oneOf: [{ $ref: '#/$defs/sum' }, { $ref: '#/$defs/one' }] }
    const node = (op: string, properties: Schema) => ({
      type: 'object',
      properties: { op: { enum: [op] }, ...properties },
      required: ['op', ...Object.keys(properties)],
    })
    const schema = { $defs: { sum: node('sum', { of: expression }), one: node('one', {}) }, ...expression }
    expect(accepts(ofSchema(schema), '{"op":"sum","of":{"op":"sum","of":{"op":"one"}}}')).toBe(true)
    expect(accepts(ofSchema(schema), '{"op":"sum","of":{"op":"two"}}')).toBe(false)
  })
})

test('an example, as OpenAPI has it, says nothing about which values are valid', () => {
  expect(accepts(ofSchema({ type: 'string', example: 'a' }), '"b"')).toBe(true)
  expect(accepts(ofSchema({ example: 'a' }), '1')).toBe(true)
})

test('objects of any names may say that names are strings, as Zod does', () => {
  for (const propertyNames of [{ type: 'string' }, {}, true]) {
    const schema = { type: 'object', propertyNames, additionalProperties: { type: 'integer' } }
    expect(accepts(ofSchema(schema), '{"a":1,"b":2}')).toBe(true)
    expect(accepts(ofSchema(schema), '{"a":"b"}')).toBe(false)
  }
})

test('integers may have the bounds of those that a double holds, as Zod gives them', () => {
  const schema = { type: 'integer', minimum: Number.MIN_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER }
  for (const text of ['0', '-12', '999999999999999']) expect(accepts(ofSchema(schema), text)).toBe(true)
})

describe('names and values that begin alike', () => {
  const names = ['a', 'ab', 'abc', 'b', 'é', 'è', 'a"b', '']

  test('come in the order of the schema, each once, and none that is required is left out', () => {
    fc.assert(
      fc.property(
        fc.shuffledSubarray(names, { minLength: 1 }),
        fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }),
        fc.shuffledSubarray(names),
        (described, isRequired, written) => {
          const required = described.filter((_, index) => isRequired[index])
          const properties = Object.fromEntries(described.map((name) => [name, { const: name }]))
          const places = written.map((name) => described.indexOf(name))
          const fits =
            places.every((place, i) => place > (places[i - 1] ?? -1)) &&
            required.every((name) => written.includes(name))
          const text = JSON.stringify(Object.fromEntries(written.map((name) => [name, name])))
          expect(accepts(ofSchema({ type: 'object', properties, required }), text)).toBe(fits)
        },
      ),
      { numRuns: 500, seed: 1 },
    )
  })

  test('may be listed by a const and an enum at once, as Pydantic does, and both have to have them', () => {
    const schema = { type: 'string', enum: ['cat', 'dog'] }
    expect(accepts(ofSchema({ ...schema, const: 'cat' }), '"cat"')).toBe(true)
    expect(accepts(ofSchema({ ...schema, const: 'cat' }), '"dog"')).toBe(false)
    for (const schema of [{ enum: [null, 1, { a: [1] }] }, { enum: [{ a: [1] }] }]) {
      expect(accepts(ofSchema({ const: { a: [1] }, ...schema }), '{"a":[1]}')).toBe(true)
      expect(accepts(ofSchema({ const: { a: [1] }, ...schema }), 'null')).toBe(false)
    }
  })

  test('are told apart where one is the beginning of another', () => {
    const schema = { enum: [12, 1, 123, -1, '1', 'é', 'è', 1, [1], [1, 2], null] }
    for (const value of schema.enum) expect(accepts(ofSchema(schema), JSON.stringify(value))).toBe(true)
    for (const text of ['2', '13', '1234', '-', '"', '"12"', '[2]', '[1,2,3]', '"ê"', '']) {
      expect(accepts(ofSchema(schema), text)).toBe(false)
    }
  })
})

describe('the end', () => {
  test('is the only choice once the text is complete, and no choice before', () => {
    const matcher = grammars.matcher(ofSchema({ const: 7 }), [END, 9])!
    const before = new Float32Array(vocabulary.length)
    matcher.mask(before)
    expect([before[END], before[9]]).toEqual([Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY])
    expect(matcher.isComplete).toBe(false)
    matcher.accept(before.indexOf(0))
    const after = new Float32Array(vocabulary.length)
    matcher.mask(after)
    expect([...after.keys()].filter((id) => after[id] === 0)).toEqual([END, 9])
    expect(matcher.isComplete).toBe(true)
  })
})

describe('a schema of very many alternatives', () => {
  const names = (count: number) => Array.from({ length: count }, (_, i) => `v${i}`)
  test.each<[string, Schema, string]>([
    ['values', { enum: names(20_000) }, '"v19999"'],
    ['properties that may be left out', { type: 'object', properties: asNulls(6000) }, '{"v7": null,"v5999": null}'],
    ['references to one another', chain(4000), '{"p3998":{"a":"v"}}'],
    ['alternatives that are alike', { anyOf: new Array(500_000).fill(true) }, 'null'],
    [
      'kinds of items',
      { type: 'array', items: { anyOf: names(15_000).map((name) => ({ const: name })) } },
      '["v14999"]',
    ],
  ])('holds for %s', (_, schema, text) => {
    const matcher = bytewise.matcher(ofSchema(schema), [BYTE_END])!
    for (const byte of new TextEncoder().encode(text)) {
      const logits = new Float32Array(BYTE_END + 1)
      matcher.mask(logits)
      expect(logits[byte]).toBe(0)
      matcher.accept(byte)
    }
    expect(matcher.isComplete).toBe(true)
  })

  /** Each refers to the next; what it takes grows with their number alone. */
  function chain(count: number): Schema {
    const at = (i: number) => ({ $ref: `#/$defs/d${i}` })
    const next = (i: number) =>
      i === count - 1 ? { type: 'string' } : { type: 'object', properties: { a: at(i + 1) }, required: ['a'] }
    const numbers = Array.from({ length: count }, (_, i) => i)
    return {
      type: 'object',
      properties: Object.fromEntries(numbers.map((i) => [`p${i}`, at(i)])),
      $defs: Object.fromEntries(numbers.map((i) => [`d${i}`, next(i)])),
    }
  }

  function asNulls(count: number): Schema {
    return Object.fromEntries(names(count).map((name) => [name, { type: 'null' }]))
  }
})

describe('a schema that cannot be held to', () => {
  /** After n brackets it can be read in 2^n ways, each with another end. */
  const ambiguous = {
    $defs: {
      a: { anyOf: [2, 3].map((length) => tuple(new Array(length).fill({ $ref: '#/$defs/a' }))).concat(tuple([])) },
    },
    $ref: '#/$defs/a',
  }
  function tuple(prefixItems: readonly Schema[]): Schema {
    return { type: 'array', prefixItems, items: false, minItems: prefixItems.length }
  }
  function numbers(count: number): Schema[] {
    return Array.from({ length: count }, (_, i) => ({ const: i }))
  }
  const deep = Array.from({ length: 500 }).reduce<Schema>((items) => ({ type: 'array', items }), { type: 'null' })

  test.each<[string, Schema, string]>([
    ['an unknown keyword', { type: 'object', properties: { a: { type: 'number', multipleOf: 3 } } }, 'multipleOf'],
    ['a pattern that looks ahead', { type: 'string', pattern: '^(?!a)b' }, 'a group other than'],
    ['a pattern that looks back', { type: 'string', pattern: '(a)\\1' }, '"\\1"'],
    ['a pattern with an octal number', { type: 'string', pattern: '\\01' }, 'an octal'],
    ['a pattern that is none', { type: 'string', pattern: '(a' }, 'closed'],
    ['a pattern that is not a text', { type: 'string', pattern: 1 }, 'not a text'],
    ['a pattern of many counts', { type: 'string', pattern: '((a{1000}){1000}){1000}' }, 'too large'],
    ['a pattern of many readings and a length', { pattern: '^(a?){1000}$', maxLength: 1000 }, 'too large'],
    ['a pattern that no string of the length has', { type: 'string', pattern: '^a{3}$', maxLength: 2 }, 'accepts no'],
    ['names of some kind', { type: 'object', propertyNames: { maxLength: 3 } }, 'propertyNames'],
    ['an unknown format', { type: 'string', format: 'uri' }, '"uri"'],
    ['a format of numbers', { type: 'integer', format: 'int32' }, '"int32"'],
    ['an unknown type', { type: 'strin' }, 'strin'],
    ['a const that its enum has not', { const: 'cat', enum: ['dog'], type: 'string' }, 'accepts no JSON value'],
    ['a keyword beside a const and an enum', { const: 'a', enum: ['a'], maxLength: 1 }, '"maxLength" beside "const"'],
    ['an enum that is not a list, beside a const', { const: 'a', enum: 'a' }, 'not a list'],
    ['a keyword beside a reference', { $ref: '#', minLength: 2 }, 'minLength'],
    ['a reference to nothing', { $ref: '#/$defs/none' }, '#/$defs/none'],
    ['a reference elsewhere', { $ref: 'https://example.com/schema' }, 'example.com'],
    ['only itself', { $ref: '#' }, 'accepts no JSON value'],
    ['no way to end', { type: 'object', properties: { a: { $ref: '#' } }, required: ['a'] }, 'accepts no JSON value'],
    ['a required property that is forbidden', { required: ['a'], additionalProperties: false }, 'accepts no'],
    ['an empty range', { type: 'integer', minimum: 3, maximum: 2 }, 'accepts no'],
    ['several schemas at once', { allOf: [{ type: 'string' }, { maxLength: 2 }] }, 'allOf'],
    ['one of several that overlap', { oneOf: [{ type: 'integer' }, { type: 'number' }] }, 'oneOf'],
    ['objects that overlap', { oneOf: [{ type: 'object' }, { type: 'object' }] }, 'tells them apart'],
    ['a bound of many digits', { type: 'number', minimum: 0.1 + 0.2 }, '15 digits'],
    ['a bound that is text', { type: 'number', minimum: '3' }, 'minimum'],
    ['a negative count', { type: 'string', maxLength: -1 }, 'maxLength'],
    ['a huge count', { type: 'array', maxItems: 1e9 }, 'maxItems'],
    ['more values than there is room for', { enum: Array.from({ length: 100_000 }, (_, i) => i) }, 'too large'],
    ['more alternatives than can be followed', { type: 'array', items: { anyOf: numbers(21_000) } }, 'too ambiguous'],
    ['one value again and again', { enum: new Array(200_000).fill('again') }, 'too large'],
    ['too many levels', deep, 'nested'],
    ['properties that are a list', { properties: [] }, 'properties'],
    ['a schema that is text', { type: 'array', items: 'string' }, '#/items'],
  ])('for it has %s is refused in one sentence that names it', (_, schema, named) => {
    const error = thrown(() => grammars.check(ofSchema(schema)))
    expect(error).toBeInstanceOf(BackendError)
    expect(error).toMatchObject({ code: 'bad_request', param: 'response_format' })
    expect((error as Error).message).toContain(named)
    expectOneSentence((error as Error).message)
  })

  test('is refused before any work where the tokenizer has no bytes', () => {
    const error = thrown(() => new Grammars(undefined).check({ type: 'json_object' }))
    expect((error as BackendError).code).toBe('bad_request')
    expect(thrown(() => new Grammars(undefined).check({ type: 'text' }))).toBeUndefined()
  })

  test('for a single mask would hold a batch up for long ends with a refusal', () => {
    const strings = Array.from({ length: 1000 }, (_, i) => ({ type: 'string', maxLength: 60 - (i % 10) }))
    const matcher = grammars.matcher(ofSchema({ anyOf: strings }), [END])!
    matcher.accept(QUOTE)
    const error = thrown(() => matcher.mask(new Float32Array(vocabulary.length)))
    expect(error).toMatchObject({ code: 'bad_request', message: expect.stringContaining('too ambiguous') })
  })

  test('for each token of a text reaches what none has reached before ends with a refusal', () => {
    const format = ofSchema({ pattern: '^(\\w+\\s?){1,100}$' })
    const written = () => tokensWritten(format, 'the quick brown fox jumps over the lazy dog and is back at home again')
    const first = written()
    expect(first.error).toMatchObject({ code: 'bad_request', param: 'response_format' })
    expect((first.error as Error).message).toContain('too ambiguous')
    expectOneSentence((first.error as Error).message)
    // What is known already is no work: the same text comes further each time.
    let last = first
    while (last.error) {
      const next = written()
      expect(next.count).toBeGreaterThan(last.count)
      last = next
    }
  })

  test('for one text is begun as before by the next one, though all that was known of it has been let go', () => {
    const format = ofSchema({ pattern: '^[a-z ]*[a-m][a-z ]{400}$' })
    for (let seed = 0; seed < 10; seed++) {
      const random = seededRandom(seed)
      const matcher = grammars.matcher(format, [END])!
      const letters = Array.from({ length: 400 }, () => String.fromCharCode(97 + Math.floor(random() * 26)))
      for (const character of `"${letters.join('')}`) matcher.accept(tokenOf(character))
      const error = thrown(() => matcher.mask(new Float32Array(vocabulary.length)))
      expect(error).toMatchObject({ message: expect.stringContaining('too ambiguous') })
    }
  })

  test('is no schema for which a long text is a little work at each token', () => {
    const alike = Array.from({ length: 10 }, (_, i) => ({ type: 'string', maxLength: 2000 + i }))
    expect(tokensWritten(ofSchema({ anyOf: alike }), 'x'.repeat(300)).error).toBeUndefined()
  })

  test('for it can be read in ever more ways ends with a refusal, not with all memory', () => {
    const matcher = bytewise.matcher(ofSchema(ambiguous), [BYTE_END])!
    const error = thrown(() => {
      for (let depth = 0; depth < 200; depth++) matcher.accept('['.charCodeAt(0))
    })
    expect((error as BackendError).code).toBe('bad_request')
    expectOneSentence((error as Error).message)
  })

  test('of the largest that are taken is kept within bounds, and so is its text', () => {
    const own = new Grammars(buildTokenTrie(vocabulary))
    const before = reachableBytes()
    for (let i = 0; i < 24; i++) {
      const schema = i % 2 === 0 ? { const: `${i}`.padEnd(190_000) } : { type: 'null', description: `${i}`.padEnd(4e6) }
      own.check(ofSchema(schema))
    }
    expect(reachableBytes() - before).toBeLessThan(128 * 2 ** 20)
    expect(own.keptBytes).toBeLessThan(128 * 2 ** 20)
  }, 60_000)

  test('is refused or compiled, whatever it looks like, and never breaks anything', () => {
    const keyword = fc.constantFrom(
      ...'type properties required items enum const anyOf $ref minimum maxLength $defs'.split(' '),
    )
    const value = fc.oneof(fc.jsonValue(), fc.constantFrom('object', 'string', 'array', 'integer', '#', '#/$defs/a'))
    fc.assert(
      fc.property(fc.dictionary(keyword, value, { maxKeys: 4 }), (schema) => {
        const error = thrown(() => grammars.check(ofSchema(schema)))
        if (error !== undefined) expect(error).toBeInstanceOf(BackendError)
      }),
      { numRuns: 500, seed: 1 },
    )
  })
})

/** What is still held: the garbage that waits besides differs from run to run by hundreds of megabytes. */
function reachableBytes(): number {
  collectGarbage()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

function thrown(action: () => void): unknown {
  try {
    action()
    return undefined
  } catch (error) {
    return error
  }
}
