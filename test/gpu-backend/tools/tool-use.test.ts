import { describe, expect, test } from 'vitest'
import { BackendError } from '../../../gpu-backend/errors.ts'
import { compileResponseFormat, type ResponseFormat } from '../../../gpu-backend/grammar/grammar.ts'
import { GenerateRequest, SamplingParams, type Tool } from '../../../gpu-backend/protocol.ts'
import { toolFormatOf } from '../../../gpu-backend/tools/tool-format.ts'
import { toolUse } from '../../../gpu-backend/tools/tool-use.ts'
import { expectOneSentence } from '../../support/one-sentence.ts'
import { TOOL_TEMPLATES } from '../../support/tool-templates.ts'

const tool = (name: string, parameters?: Record<string, unknown>): Tool => ({
  type: 'function',
  function: { name, ...(parameters ? { parameters } : {}) },
})
const request = (extra: object) =>
  GenerateRequest.parse({
    delta: null,
    messages: [{ role: 'user', content: 'hi' }],
    sampling: SamplingParams.parse({}),
    ...extra,
  })

const useOf = (asked: GenerateRequest, template: string | undefined) => toolUse(asked, template, compileResponseFormat)

function refusal(work: () => unknown): BackendError {
  try {
    work()
  } catch (error) {
    if (error instanceof BackendError) return error
  }
  throw new Error('it was not refused')
}

describe('the format of calls', () => {
  test('is known by the template', () => {
    expect(toolFormatOf(TOOL_TEMPLATES.hermes)?.open).toBe('<tool_call>')
    expect(toolFormatOf(TOOL_TEMPLATES.mistral)?.open).toBe('[TOOL_CALLS]')
    expect(toolFormatOf(TOOL_TEMPLATES.llama)).toMatchObject({ open: undefined, argumentsKey: 'parameters' })
  })

  test.each([
    ['no tools', '{{ messages[0].content }}'],
    ['calls in tags', '{{ tools }}<tool_call><function=name></function></tool_call>'],
    ['calls without JSON', '{{ tools }}[TOOL_CALLS]name[ARGS]{}'],
    ['calls of another kind', '{{ tools }}call:'],
  ])('is none of a template with %s', (_, template) => {
    expect(toolFormatOf(template)).toBeUndefined()
  })
})

describe('the use of tools', () => {
  test('is none without tools, and refused where the template has none', () => {
    expect(useOf(request({}), undefined)).toBeUndefined()
    for (const template of [undefined, '{{ messages[0].content }}']) {
      const error = refusal(() => useOf(request({ tools: [tool('time')] }), template))
      expect(error).toMatchObject({ code: 'bad_request', param: 'tools' })
      expectOneSentence(error.message)
    }
  })

  test('leaves the prompt and the sampling alone where the model may choose', () => {
    const asked = request({ tools: [tool('time')] })
    expect(useOf(asked, TOOL_TEMPLATES.hermes)).toMatchObject({ promptEnd: '', sampling: asked.sampling })
  })

  const ofFormat = (response_format: ResponseFormat, extra = {}) =>
    request({ tools: [tool('time'), tool('tide')], sampling: SamplingParams.parse({ response_format }), ...extra })
  const SCHEMA = { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] }
  const FORMATS: readonly ResponseFormat[] = [
    { type: 'json_object' },
    { type: 'json_schema', json_schema: { schema: SCHEMA } },
  ]

  test.each(FORMATS)(
    'holds an answer to the format %j or to calls of the tools, where marks tell them apart',
    (format) => {
      const instead = {
        ...{ open: '<tool_call>', close: '</tool_call>', isRepeated: true },
        schema: {
          type: 'object',
          properties: { name: { enum: ['time', 'tide'] }, arguments: { type: 'object' } },
          required: ['name', 'arguments'],
          additionalProperties: false,
        },
      }
      const use = useOf(ofFormat(format), TOOL_TEMPLATES.hermes)!
      expect(use.sampling.response_format).toEqual({ ...format, instead })
      expect(use.promptEnd).toBe('')
      const reader = use.reader()
      expect(reader.push('<tool_call>{"name": "tide", "arguments": {}}</tool_call>').calls).toHaveLength(1)
      const one = useOf(ofFormat(format, { parallel_tool_calls: false }), TOOL_TEMPLATES.hermes)!
      expect(one.sampling.response_format).toMatchObject({ instead: { isRepeated: false } })
    },
  )

  test.each(FORMATS)('is refused beside the format %j where no marks tell calls apart from it', (format) => {
    const refusals = [
      ...[TOOL_TEMPLATES.mistral, TOOL_TEMPLATES.llama].map((template) => () => useOf(ofFormat(format), template)),
      // Of a token that is no text a grammar of text knows nothing.
      () => toolUse(ofFormat(format), TOOL_TEMPLATES.hermes, compileResponseFormat, (token) => token === '<tool_call>'),
    ].map(refusal)
    for (const { code, param, message } of refusals) {
      expect({ code, param }).toEqual({ code: 'bad_request', param: 'tools' })
      expectOneSentence(message)
    }
  })

  test('is the same beside a format that is none', () => {
    for (const template of Object.values(TOOL_TEMPLATES)) {
      expect(useOf(ofFormat({ type: 'text' }), template)).toMatchObject({
        sampling: { response_format: { type: 'text' } },
      })
    }
  })

  test('knows calls by the names of the tools where models mark them by nothing', () => {
    const read = (asked: object, text: string) => {
      const reader = useOf(request({ tools: [tool('time'), tool('tide')], ...asked }), TOOL_TEMPLATES.llama)!.reader()!
      return [...reader.push(text).calls, ...reader.end().calls].map(({ function: called }) => called.name)
    }
    for (const asked of [{}, { must_call: ['tide'] }]) {
      expect(read(asked, '{"name": "tide", "parameters": {}}')).toEqual(['tide'])
      expect(read(asked, '{"name": "Alice", "parameters": {}}')).toEqual([])
    }
  })

  test('reads one call of an answer whose template takes no more in a message', () => {
    const reads = (template: string, text: string) => {
      const reader = useOf(request({ tools: [tool('time')] }), template)!.reader()!
      return [...reader.push(text).calls, ...reader.end().calls].length
    }
    const several = '{"name": "time", "parameters": {}}; {"name": "time", "parameters": {}}'
    expect(reads(TOOL_TEMPLATES.llama, several)).toBe(1)
    expect(reads(TOOL_TEMPLATES.llama.replace(/length == 1/, 'length'), several)).toBe(2)
  })

  test('begins the call that must be made, and holds it to the parameters, with their own references', () => {
    const parameters = {
      type: 'object',
      properties: { to: { $ref: '#/$defs/city' } },
      required: ['to'],
      $defs: { city: { enum: ['Bern', 'Rome'] } },
    }
    const tools = [tool('time'), tool('fly', parameters)]
    const use = useOf(request({ tools, must_call: ['time', 'fly'] }), TOOL_TEMPLATES.mistral)!
    expect(use.promptEnd).toBe('[TOOL_CALLS] [')
    const { response_format: format } = use.sampling
    expect(format).toMatchObject({
      json_schema: {
        schema: { anyOf: [{}, { properties: { name: { const: 'fly' } }, required: ['name', 'arguments'] }] },
      },
    })
    expect(compileResponseFormat(format!)).toBeDefined()
    const one = useOf(request({ tools, must_call: ['fly'] }), TOOL_TEMPLATES.llama)!
    expect(one.promptEnd).toBe('')
    expect(one.sampling.response_format).toMatchObject({
      json_schema: { schema: { anyOf: [{ required: ['name', 'parameters'] }] } },
    })
  })

  test.each([
    ['no parameters', undefined, { type: 'object', properties: {}, additionalProperties: false }],
    ['parameters of no type', { properties: { a: {} } }, { type: 'object', properties: { a: {} } }],
    ['parameters that may be anything', {}, { type: 'object' }],
    ['parameters that may be null', { type: ['object', 'null'] }, { type: 'object' }],
    ['parameters by reference', { $ref: '#/$defs/a', $defs: { a: {} } }, undefined],
  ])('holds a call of a tool with %s to an object', (_, parameters, expected) => {
    const asked = request({ tools: [tool('time', parameters)], must_call: ['time'] })
    const { response_format: format } = useOf(asked, TOOL_TEMPLATES.hermes)!.sampling
    const held = expected ?? { $ref: '#/anyOf/0/properties/arguments/$defs/a', $defs: { a: {} } }
    expect(format).toMatchObject({ json_schema: { schema: { anyOf: [{ properties: { arguments: held } }] } } })
  })

  test('names the tools where their parameters cannot be held to', () => {
    const tools = [tool('time', { type: 'object', properties: { zone: { type: 'number', multipleOf: 3 } } })]
    const error = refusal(() => useOf(request({ tools, must_call: ['time'] }), TOOL_TEMPLATES.hermes))
    expect(error).toMatchObject({ code: 'bad_request', param: 'tools' })
    expect(error.message).toContain('"multipleOf"')
    expectOneSentence(error.message)
    expect(useOf(request({ tools }), TOOL_TEMPLATES.hermes)).toBeDefined()
  })
})

test.each([
  [{ must_call: ['time'] }],
  [{ tools: [tool('time')], must_call: ['other'] }],
  [{ tools: [tool('time')], messages: undefined, prompt: 'hi' }],
  [{ tools: [tool('a b')] }],
  [
    {
      tools: [tool('time')],
      must_call: ['time'],
      sampling: SamplingParams.parse({ response_format: { type: 'json_object' } }),
    },
  ],
  [
    {
      messages: [
        {
          role: 'assistant',
          content: '',
          tool_calls: [{ id: 'a', type: 'function', function: { name: 'x', arguments: '[]' } }],
        },
      ],
    },
  ],
])('a request with %j is none', (extra) => {
  expect(() => request(extra)).toThrow()
})
