import { describe, expect, test, vi } from 'vitest'
import { ToolCallReader } from '../../../gpu-backend/tools/tool-call-reader.ts'
import { toolFormatOf } from '../../../gpu-backend/tools/tool-format.ts'
import fc from '../../support/properties.ts'
import { TOOL_TEMPLATES } from '../../support/tool-templates.ts'

type Family = keyof typeof TOOL_TEMPLATES

/** Of an answer to a request with the tools `weather` and `time`. */
function reader(family: Family, startsInCall = false, maxCalls?: number): ToolCallReader {
  return new ToolCallReader(toolFormatOf(TOOL_TEMPLATES[family])!, ['weather', 'time'], startsInCall, maxCalls)
}

interface Read {
  text: string
  /** Name and arguments of each. */
  calls: [string, unknown][]
}

function read(from: ToolCallReader, pieces: readonly string[]): Read {
  const all: Read = { text: '', calls: [] }
  for (const { text, calls } of [...pieces.map((piece) => from.push(piece)), from.end()]) {
    all.text += text
    all.calls.push(
      ...calls.map(({ function: called }): [string, unknown] => [called.name, JSON.parse(called.arguments)]),
    )
  }
  return all
}

const WEATHER = '{"name": "weather", "arguments": {"city": "Bern"}}'
const TIME = '{"name": "time", "arguments": {}}'
const [weather, time]: [string, unknown][] = [
  ['weather', { city: 'Bern' }],
  ['time', {}],
]

/** What a model wrote, and what it says. */
const ANSWERS: readonly [Family, string, Read][] = [
  ['hermes', 'It is noon.', { text: 'It is noon.', calls: [] }],
  ['hermes', `<tool_call>\n${WEATHER}\n</tool_call>`, { text: '', calls: [weather!] }],
  [
    'hermes',
    `I look.\n\n<tool_call>${WEATHER}</tool_call>\n<tool_call>${TIME}</tool_call>\n`,
    { text: 'I look.', calls: [weather!, time!] },
  ],
  ['hermes', `<tool_call>\n${WEATHER}`, { text: '', calls: [weather!] }],
  ['hermes', '<tool_call>\n{"name": ', { text: '<tool_call>\n{"name": ', calls: [] }],
  [
    'hermes',
    '<tool_call>{"name": "weather", "parameters": {"city": "Bern"}}</tool_call>',
    { text: '', calls: [weather!] },
  ],
  ['hermes', '<tool_call>not JSON</tool_call>', { text: '<tool_call>not JSON</tool_call>', calls: [] }],
  ['hermes', '<tool_call>{"name": ""}</tool_call>', { text: '<tool_call>{"name": ""}</tool_call>', calls: [] }],
  ['hermes', 'a <tool b', { text: 'a <tool b', calls: [] }],
  ['hermes', 'open: <tool_', { text: 'open: <tool_', calls: [] }],
  ['hermes', ' spaces ', { text: ' spaces ', calls: [] }],
  [
    'hermes',
    '<tool_call>{"name": "say", "arguments": {"text": "</tool_call>"}}</tool_call>',
    { text: '', calls: [['say', { text: '</tool_call>' }]] },
  ],
  [
    'hermes',
    `<tool_call>not JSON</tool_call>\n<tool_call>${TIME}</tool_call>`,
    { text: '<tool_call>not JSON</tool_call>', calls: [time!] },
  ],
  ['hermes', `<tool_call>${TIME}</tool_`, { text: '', calls: [time!] }],
  [
    'hermes',
    String.raw`<tool_call>{"name": "say", "arguments": {"text": "\"</tool_call>\\"}}</tool_call>.`,
    { text: '.', calls: [['say', { text: '"</tool_call>\\' }]] },
  ],
  ['mistral', `[TOOL_CALLS] [${WEATHER}, ${TIME}]`, { text: '', calls: [weather!, time!] }],
  ['mistral', `Well. [TOOL_CALLS][${TIME}]`, { text: 'Well.', calls: [time!] }],
  ['mistral', '[TOOL_CALLS] none', { text: '[TOOL_CALLS] none', calls: [] }],
  ['llama', '{"name": "weather", "parameters": {"city": "Bern"}}', { text: '', calls: [weather!] }],
  [
    'llama',
    '\n{"name": "weather", "parameters": {"city": "Bern"}}; {"name": "time", "parameters": {}}',
    { text: '', calls: [weather!, time!] },
  ],
  ['llama', '{"name": "time", "parameters": "{}"}', { text: '', calls: [time!] }],
  ['llama', WEATHER, { text: '', calls: [weather!] }],
  [
    'llama',
    '{"name": "Alice", "parameters": {"age": 30}}',
    { text: '{"name": "Alice", "parameters": {"age": 30}}', calls: [] },
  ],
  ['llama', '{"name": "time", "zone": "UTC"}', { text: '{"name": "time", "zone": "UTC"}', calls: [] }],
  [
    'llama',
    `${WEATHER}; {"name": "Alice", "parameters": {}}`,
    { text: `${WEATHER}; {"name": "Alice", "parameters": {}}`, calls: [] },
  ],
  ['llama', '{"answer": 42}', { text: '{"answer": 42}', calls: [] }],
  [
    'llama',
    'As JSON: {"name": "time", "parameters": {}}',
    { text: 'As JSON: {"name": "time", "parameters": {}}', calls: [] },
  ],
]

describe('a reader of tool calls', () => {
  test.each(ANSWERS)('of the %s format reads %j', (family, answer, expected) => {
    expect(read(reader(family), [answer])).toEqual(expected)
  })

  test('reads the same however the text is cut into pieces, and shows nothing of a call', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...ANSWERS),
        fc.array(fc.nat(8), { maxLength: 200 }),
        ([family, answer, expected], cuts) => {
          const pieces: string[] = []
          let rest = answer
          for (const length of cuts) {
            pieces.push(rest.slice(0, length))
            rest = rest.slice(length)
          }
          expect(read(reader(family), [...pieces, rest])).toEqual(expected)
        },
      ),
      { numRuns: 2000 },
    )
  })

  test('shows text as it comes where no call can begin in it', () => {
    const hermes = reader('hermes')
    expect(hermes.push('It is <b>noon').text).toBe('It is <b>noon')
    expect(hermes.push(' now <too').text).toBe(' now')
    expect(hermes.push('ls>').text).toBe(' <tools>')
  })

  test('never loses text of which nothing is a call', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('hermes', 'mistral', 'llama'),
        fc.array(fc.constantFrom('<tool_call>', '</tool_call>', '[TOOL_CALLS]', '{', '}', ' ', '\n', 'x', '"', ';')),
        (family, pieces) => {
          const { text, calls } = read(reader(family as 'hermes'), pieces)
          expect(calls).toEqual([])
          expect(text).toBe(pieces.join(''))
        },
      ),
    )
  })

  test('whose prompt has begun the call reads its JSON alone, or shows it where it breaks off', () => {
    expect(read(reader('hermes', true, 1), [WEATHER])).toEqual({ text: '', calls: [weather] })
    expect(read(reader('mistral', true, 1), [TIME])).toEqual({ text: '', calls: [time] })
    const cut = WEATHER.slice(0, 30)
    expect(read(reader('hermes', true, 1), [cut])).toEqual({ text: cut, calls: [] })
  })

  test('is full after as many calls as are wanted, and drops what follows', () => {
    const hermes = reader('hermes', false, 1)
    const call = `<tool_call>${TIME}</tool_call>`
    expect(read(hermes, [call, call, 'and more'])).toEqual({ text: '', calls: [time] })
    expect(hermes.isFull).toBe(true)
    expect(read(reader('mistral', false, 1), [`[TOOL_CALLS][${TIME},${TIME}]`]).calls).toHaveLength(1)
  })

  test.each(['<tool_call>"', '<tool_call>', '<tool_call>{}'])(
    'looks at no call twice, however many marks of an end follow %j',
    (begin) => {
      const parse = vi.spyOn(JSON, 'parse')
      const pieces = [begin, ...new Array<string>(8000).fill('</tool_call>')]
      const { text } = read(reader('hermes'), pieces)
      expect(text).toBe(pieces.join(''))
      expect(parse).toHaveBeenCalledTimes(1)
      parse.mockRestore()
    },
  )

  test.each([
    ['hermes', (json: string) => `<tool_call>{"name": "time", "arguments": ${json}}</tool_call>`],
    ['mistral', (json: string) => `[TOOL_CALLS] [{"name": "time", "arguments": ${JSON.stringify(json)}}]`],
    ['llama', (json: string) => `{"name": "time", "parameters": ${json}}`],
  ] as const)('of the %s format tells numbers as the model wrote them', (family, answer) => {
    const json = '{"user":175928847299117063,"x":5.0,"y":[-0.0,1e400,1.10,7]}'
    const one = reader(family)
    const calls = [...one.push(answer(json)).calls, ...one.end().calls]
    expect(calls.map(({ function: called }) => called.arguments)).toEqual([json])
  })

  test.each([
    ['a number for arguments', '{"name": "time", "arguments": 5.0}'],
    ['arguments nested deeply', `{"name": "time", "arguments": {"a": ${'['.repeat(9000)}${']'.repeat(9000)}}}`],
    ['a name of any length', `{"name": "${'x'.repeat(300)}", "arguments": {}}`],
  ])('takes %s for no call', (_, json) => {
    const answer = `<tool_call>${json}</tool_call>`
    expect(read(reader('hermes'), [answer])).toEqual({ text: answer, calls: [] })
  })

  test('gives each call an id of its own, of nine letters and digits for Mistral, whose templates ask for that', () => {
    const ids = (family: Family, text: string) =>
      [reader(family)].flatMap((one) => [...one.push(text).calls, ...one.end().calls]).map(({ id }) => id)
    const hermes = ids('hermes', `<tool_call>${TIME}</tool_call><tool_call>${TIME}</tool_call>`)
    expect(new Set(hermes).size).toBe(2)
    for (const id of hermes) expect(id).toMatch(/^call_[0-9a-f]{24}$/)
    for (const id of ids('mistral', `[TOOL_CALLS] [${TIME}]`)) expect(id).toMatch(/^[a-zA-Z0-9]{9}$/)
  })
})
