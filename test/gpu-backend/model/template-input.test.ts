import { expect, test } from 'vitest'
import { alpacaChatTemplate } from '../../../adapters/formats/alpaca-template.ts'
import { ChatTemplate } from '../../../gpu-backend/model/chat-template.ts'
import { oneCallEach, templateInput } from '../../../gpu-backend/model/template-input.ts'
import { TOOL_TEMPLATES } from '../../support/tool-templates.ts'

const SPECIALS = { bos_token: '', eos_token: '' }
const call = {
  id: 'a12345678',
  type: 'function' as const,
  function: { name: 'weather', arguments: '{"city":"Zürich"}' },
}
const MESSAGES = [
  { role: 'user' as const, content: 'hi' },
  { role: 'assistant' as const, content: '', tool_calls: [call] },
  { role: 'tool' as const, content: 'sunny', tool_call_id: 'a12345678' },
]
const render = (template: string) => new ChatTemplate(template).render(templateInput(MESSAGES, {}, SPECIALS))

test('a call is written with its arguments as JSON and not as a text of JSON', () => {
  expect(render(TOOL_TEMPLATES.hermes)).toContain(
    '<tool_call>\n{"name": "weather", "arguments": {"city": "Zürich"}}\n</tool_call>',
  )
  expect(render(TOOL_TEMPLATES.mistral)).toContain(
    '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Zürich"}, "id": "a12345678"}]',
  )
  expect(render(TOOL_TEMPLATES.llama)).toContain('{"name": "weather", "parameters": {"city": "Zürich"}}')
})

/** A conversation with one call. */
const called = (json: string) => [
  { role: 'assistant' as const, content: '', tool_calls: [{ ...call, function: { name: 'time', arguments: json } }] },
]

test('the numbers of a call are written as the model wrote them, as JSON and plainly', () => {
  const json = '{"user": 175928847299117063, "x": [5.0, 0.0, -0.0, 1e400, 1.10, 7], "on": {"id": 9007199254740993}}'
  const text = (template: string) => new ChatTemplate(template).render(templateInput(called(json), {}, SPECIALS))
  const given = 'messages[0].tool_calls[0].function.arguments'
  expect(text(`{{ ${given} | tojson }}`)).toBe(json)
  expect(text(`{{ ${given}.user }} {{ ${given}.x[0] }} {{ ${given}["on"].id ~ "" }}`)).toBe(
    '175928847299117063 5.0 9007199254740993',
  )
  expect(text(`{{ ${given}.on }} {{ ${given}.x | join("|") }}`)).toBe(
    "{'id': 9007199254740993} 5.0|0.0|-0.0|1e400|1.10|7",
  )
  expect(text('{% for m in messages %}{{ m.tool_calls[0].function.arguments.user }}{% endfor %}')).toBe(
    '175928847299117063',
  )
})

test('a number that is written in another way is the same number', () => {
  const text = (template: string) =>
    new ChatTemplate(`{% set a = messages[0].tool_calls[0].function.arguments %}${template}`).render(
      templateInput(called('{"x": 5.0, "none": 0.0}'), {}, SPECIALS),
    )
  expect(text('{{ a.x + 1 }} {{ a.x == 5 }} {{ a.x > 4 }} {{ a.x is number }} {{ [1, 2][a.none] }}')).toBe(
    '6 True True True 1',
  )
  expect(text('{{ "some" if a.x else "none" }} {{ "some" if a.none else "none" }}')).toBe('some none')
})

test('a result has the name of the tool whose it is, which Hermes asks for and OpenAI’s clients do not send', () => {
  expect(render('{{ messages[2].name }}: {{ messages[2].content }}')).toBe('weather: sunny')
})

test('messages and tools without calls are given as they are, and no tools are none', () => {
  const messages = [{ role: 'user' as const, content: 'hi' }]
  expect(templateInput(messages, {}, SPECIALS)).toEqual({ messages, ...SPECIALS })
  const tools = [{ type: 'function' as const, function: { name: 'time' } }]
  expect(templateInput(messages, { tools }, SPECIALS)).toEqual({ messages, tools, ...SPECIALS })
})

test('what a request sets stands beside the messages, and cannot take their place', () => {
  const messages = [{ role: 'user' as const, content: 'hi' }]
  const given = { enable_thinking: false, messages: [], tools: [], bos_token: 'x' }
  const input = templateInput(messages, { chat_template_kwargs: given }, SPECIALS)
  expect(input).toMatchObject({ enable_thinking: false, messages, ...SPECIALS })
})

test('what was thought is there under both of the names that templates read', () => {
  const messages = [{ role: 'assistant' as const, content: 'Yes.', reasoning_content: 'Hm.' }]
  expect(templateInput(messages, {}, SPECIALS).messages).toEqual([{ ...messages[0], reasoning: 'Hm.' }])
})

test('what OpenAI calls a developer is the system, which templates know', () => {
  const qwen = `{%- for message in messages -%}
    {%- if message.role == "user" or message.role == "system" -%}[{{ message.role }}] {{ message.content }} {% endif -%}
  {%- endfor -%}`
  const refusing = `{%- for message in messages -%}
    {%- if message.role not in ["user", "system"] -%}{{ raise_exception("Unexpected role.") }}{%- endif -%}
    [{{ message.role }}] {{ message.content }} {% endfor -%}`
  const gptOss = `{%- if messages[0].role == "developer" or messages[0].role == "system" -%}
    [system] {{ messages[0].content }} {% endif -%}[user] {{ messages[1].content }} `
  const alpaca = alpacaChatTemplate(
    {
      prompt_input: '[system] {instruction} [user] {input} ',
      prompt_no_input: '[user] {instruction}',
      response_split: '',
    },
    'alpaca.json',
  )
  const messages = [
    { role: 'developer' as const, content: 'Be brief.' },
    { role: 'user' as const, content: 'hi' },
  ]
  for (const template of [qwen, refusing, gptOss, alpaca]) {
    const prompt = new ChatTemplate(template).render(templateInput(messages, {}, SPECIALS))
    expect(prompt).toBe('[system] Be brief. [user] hi ')
  }
})

const [one, two] = ['one', 'two'].map((id) => ({ ...call, id }))
const result = (tool_call_id: string) => ({ role: 'tool' as const, content: `of ${tool_call_id}`, tool_call_id })

test('of several calls in a message each is followed by its result for a template that takes one at once', () => {
  const said = { role: 'assistant' as const, content: 'I look.', reasoning_content: 'Hm.' }
  const asked = { role: 'user' as const, content: 'hi' }
  const both = { ...said, tool_calls: [one!, two!] }
  const messages = [asked, both, result('two'), result('one'), result('three'), asked]
  expect(oneCallEach(messages)).toEqual([
    ...[asked, { ...said, tool_calls: [one] }, result('one')],
    ...[{ role: 'assistant', content: '', tool_calls: [two] }, result('two'), result('three'), asked],
  ])
  const prompt = new ChatTemplate(TOOL_TEMPLATES.llama).render(templateInput(messages, {}, SPECIALS))
  expect(prompt.match(/"name"|of \w+/g)).toEqual(['"name"', 'of one', '"name"', 'of two', 'of three'])
})

test('several calls in a message stay there for a template that takes them', () => {
  const messages = [{ role: 'assistant' as const, content: '', tool_calls: [one!, two!] }, result('one'), result('two')]
  const prompt = new ChatTemplate(TOOL_TEMPLATES.hermes).render(templateInput(messages, {}, SPECIALS))
  expect(prompt.match(/"name"|of \w+/g)).toEqual(['"name"', '"name"', 'of one', 'of two'])
})
