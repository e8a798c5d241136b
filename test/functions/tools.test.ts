// Tools through the edge, with the clients that people use: asked for, called, answered.
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { generateText, stepCountIs, streamText, tool } from 'ai'
import OpenAI from 'openai'
import { zodFunction } from 'openai/helpers/zod'
import { beforeEach, describe, expect, test } from 'vitest'
import * as z from 'zod'
import type { ToolCall } from '../../gpu-backend/protocol.ts'
import { edgeOnBackends } from '../support/edge-on-backends.ts'

const QUESTION = [{ role: 'user' as const, content: 'How is the weather in Bern?' }]
const TOOLS = ['weather', 'time'].map((name) => ({
  type: 'function' as const,
  function: { name, parameters: { type: 'object', properties: { city: { type: 'string' } } } },
}))
const call = (id: string, name: string): ToolCall => ({
  id,
  type: 'function',
  function: { name, arguments: '{"city":"Bern"}' },
})
const CALLS = [call('call_1', 'weather'), call('call_2', 'time')]

const { backend, edge } = await edgeOnBackends()
await edge.addTenant('acme', 'key-acme')
const client = new OpenAI({ apiKey: 'key-acme', baseURL: `${edge.url}/v1`, maxRetries: 0 })

beforeEach(() => {
  backend.reset()
  Object.assign(backend.behaviour, { words: [], calls: CALLS })
})

const ask = { model: 'tiny-base', messages: QUESTION, tools: TOOLS }
const asked = () => backend.generations.at(-1)!.request

describe('an answer with calls', () => {
  test('has them whole, and no text but what was said beside them', async () => {
    const { choices } = await client.chat.completions.create(ask)
    expect(choices).toMatchObject([
      { finish_reason: 'tool_calls', message: { role: 'assistant', content: null, tool_calls: CALLS } },
    ])
    backend.behaviour.words = ['I look.']
    const beside = await client.chat.completions.create(ask)
    expect(beside.choices[0]?.message).toMatchObject({ content: 'I look.', tool_calls: CALLS })
  })

  test('streams each under its place, which the client puts together', async () => {
    const chunks = await Array.fromAsync(await client.chat.completions.create({ ...ask, stream: true }))
    const deltas = chunks.flatMap(({ choices }) => choices.map(({ delta }) => delta))
    expect(deltas[0]).toEqual({ role: 'assistant', tool_calls: [{ index: 0, ...CALLS[0] }] })
    expect(deltas[1]).toEqual({ tool_calls: [{ index: 1, ...CALLS[1] }] })
    const final = await client.chat.completions.stream(ask).finalChatCompletion()
    expect(final.choices[0]).toMatchObject({ finish_reason: 'tool_calls', message: { tool_calls: CALLS } })
  })

  test('is kept with them for its Idempotency-Key', async () => {
    const options = { headers: { 'idempotency-key': 'calls' } }
    const first = await client.chat.completions.create(ask, options)
    const again = await client.chat.completions.create(ask, options).withResponse()
    expect(again.response.headers.get('x-polylora-replayed')).toBe('true')
    expect(again.data.choices).toEqual(first.choices)
  })
})

describe('a request with tools', () => {
  test.each([
    ['auto', { tools: TOOLS }],
    ['required', { tools: TOOLS, must_call: ['weather', 'time'] }],
    [
      { type: 'function' as const, function: { name: 'time' } },
      { tools: TOOLS, must_call: ['time'] },
    ],
    ['none', { tools: undefined }],
  ] as const)('and tool_choice %j tells the backend so', async (tool_choice, expected) => {
    await client.chat.completions.create({ ...ask, tool_choice })
    const { tools, must_call } = asked()
    expect({ must_call: undefined, ...expected }).toEqual({ tools, must_call })
  })

  test('leaves it to the model where nothing is said', async () => {
    await client.chat.completions.create(ask)
    expect(asked()).toMatchObject({ tools: TOOLS })
    expect(asked()).not.toHaveProperty('must_call')
  })

  test('may want one call at a time', async () => {
    await client.chat.completions.create({ ...ask, parallel_tool_calls: false })
    expect(asked().parallel_tool_calls).toBe(false)
  })

  test('goes on from calls and their results', async () => {
    const [first] = CALLS
    await client.chat.completions.create({
      ...ask,
      messages: [
        ...QUESTION,
        { role: 'assistant', content: null, tool_calls: [first!] },
        { role: 'tool', tool_call_id: first!.id, content: [{ type: 'text', text: 'sunny' }] },
      ],
    })
    expect(asked().messages?.slice(1)).toEqual([
      { role: 'assistant', content: '', tool_calls: [first] },
      { role: 'tool', content: 'sunny', tool_call_id: first!.id },
    ])
  })

  test('goes on from the messages that OpenAI’s SDK parses, which have keys of its own', async () => {
    const parsing = { ...ask, tools: [zodFunction({ name: 'weather', parameters: z.object({ city: z.string() }) })] }
    const parsed = await client.chat.completions.parse(parsing)
    const streamed = await client.chat.completions.stream(parsing).finalChatCompletion()
    for (const { choices } of [parsed, streamed]) {
      const { message } = choices[0]!
      expect(message).toHaveProperty('tool_calls[0].function.parsed_arguments')
      await client.chat.completions.create({ ...ask, messages: [...QUESTION, message] })
      expect(asked().messages?.slice(1)).toEqual([{ role: 'assistant', content: '', tool_calls: CALLS }])
    }
  })

  test('goes on from a call without arguments as other models have written it, with no JSON at all', async () => {
    const bare = { ...CALLS[0]!, function: { name: 'time', arguments: '' } }
    await client.chat.completions.create({ ...ask, messages: [...QUESTION, { role: 'assistant', tool_calls: [bare] }] })
    expect(asked().messages?.[1]?.tool_calls).toEqual([{ ...bare, function: { name: 'time', arguments: '{}' } }])
  })

  test('may write null for what it leaves out of a tool, and say more of it', async () => {
    const described = { name: 'time', description: null, parameters: null, strict: null }
    const tools = [{ type: 'function', function: described, cache_control: { type: 'ephemeral' } }]
    const body = JSON.stringify({ ...ask, tools })
    const response = await edge.call('key-acme', '/v1/chat/completions', { method: 'POST', body })
    expect(response.status).toBe(200)
    expect(asked().tools).toEqual([{ type: 'function', function: { name: 'time' } }])
  })

  test('may ask for text, which is no format, where a call is wanted', async () => {
    await client.chat.completions.create({ ...ask, tool_choice: 'required', response_format: { type: 'text' } })
    expect(asked()).toMatchObject({ must_call: ['weather', 'time'] })
  })

  const noJson = { ...CALLS[0]!, function: { name: 'time', arguments: 'now' } }
  test.each([
    [{ tools: [{ type: 'function', function: { name: 'a b' } }] }, 'tools'],
    [{ tool_choice: { type: 'function', function: { name: 'tide' } } }, 'tool_choice'],
    [{ tool_choice: 'any' }, 'tool_choice'],
    [{ tools: [], tool_choice: 'required' }, 'tool_choice'],
    [{ tool_choice: 'required', response_format: { type: 'json_object' } }, 'tool_choice'],
    [{ messages: [{ role: 'assistant', content: null }] }, 'messages'],
    [{ messages: [{ role: 'user', content: null, tool_calls: CALLS }] }, 'messages'],
    [{ messages: [{ role: 'assistant', content: null, tool_calls: [noJson] }] }, 'messages'],
    [{ functions: [{ name: 'time' }] }, 'functions'],
  ])('is refused with %j by the name of the parameter', async (extra, param) => {
    const response = await edge.call('key-acme', '/v1/chat/completions', {
      method: 'POST',
      body: JSON.stringify({ ...ask, ...extra }),
    })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ error: { type: 'invalid_request_error', param } })
  })
})

describe('the Vercel AI SDK', () => {
  const polylora = () =>
    createOpenAICompatible({ name: 'polylora', baseURL: `${edge.url}/v1`, apiKey: 'key-acme' })('tiny-base')
  const weather = tool({
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => {
      // The model's next answer is of words.
      Object.assign(backend.behaviour, { words: ['It is ', 'sunny.'], calls: [] })
      return `${city}: sunny`
    },
  })
  const loop = { tools: { weather }, stopWhen: stepCountIs(3), prompt: 'How is the weather in Bern?' }

  test('calls the tool and gives the model its result, whole and streamed', async () => {
    for (const stream of [false, true]) {
      Object.assign(backend.behaviour, { words: [], calls: [CALLS[0]] })
      const text = stream
        ? await streamText({ model: polylora(), ...loop }).text
        : (await generateText({ model: polylora(), ...loop })).text
      expect(text).toBe('It is sunny.')
      expect(asked().messages).toMatchObject([
        { role: 'user' },
        {
          role: 'assistant',
          tool_calls: [{ id: 'call_1', function: { name: 'weather', arguments: '{"city":"Bern"}' } }],
        },
        { role: 'tool', tool_call_id: 'call_1', content: 'Bern: sunny' },
      ])
    }
  })
})
