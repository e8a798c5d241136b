import { Template } from '@huggingface/jinja'
import { expect, test } from 'vitest'
import { alpacaChatTemplate } from '../../../adapters/formats/alpaca-template.ts'
import { templateInput } from '../../../gpu-backend/model/template-input.ts'
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
const render = (template: string) => new Template(template).render({ ...templateInput(MESSAGES, {}, SPECIALS) })

test('a call is written with its arguments as JSON and not as a text of JSON', () => {
  expect(render(TOOL_TEMPLATES.hermes)).toContain(
    '<tool_call>\n{"name": "weather", "arguments": {"city": "Zürich"}}\n</tool_call>',
  )
  expect(render(TOOL_TEMPLATES.mistral)).toContain(
    '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Zürich"}, "id": "a12345678"}]',
  )
  expect(render(TOOL_TEMPLATES.llama)).toContain('{"name": "weather", "parameters": {"city": "Zürich"}}')
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
    const prompt = new Template(template).render({ ...templateInput(messages, {}, SPECIALS) })
    expect(prompt).toBe('[system] Be brief. [user] hi ')
  }
})
