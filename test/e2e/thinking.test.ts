// Whether a model thinks, which its chat template is told: through the real edge and a real backend, whose answer is compared
// with the one to the prompt that the template is to make.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { SECRET, serve } from '../support/backend-client.ts'
import { ADMIN_KEY, type EdgeHarness, startEdge } from '../support/edge-harness.ts'
import { expectOneSentence } from '../support/one-sentence.ts'
import { encodedRandomDelta } from '../support/random-delta.ts'
import { THINKING_TEMPLATE } from '../support/thinking-template.ts'
import { tinyEngines } from '../support/tiny-engine.ts'
import { writeTinyModel } from '../support/tiny-model.ts'

const engines = tinyEngines()
let edge: EdgeHarness

beforeAll(async () => {
  const modelPath = writeTinyModel(join(engines.root, 'thinking'))
  writeFileSync(join(modelPath, 'chat_template.jinja'), THINKING_TEMPLATE)
  const engine = await engines.start({ modelPath })
  const { client } = await serve(engine)
  edge = await startEdge(client.url, { POLYLORA_BACKEND_SECRET: SECRET, POLYLORA_ADMIN_KEY: ADMIN_KEY })
  await edge.addTenant('acme', 'key-acme')
  const chatTemplate = `Effort: {{ reasoning_effort }}\n${THINKING_TEMPLATE}`
  for (const [seed, name, brought] of [
    [1, 'plain', {}],
    [2, 'own', { chatTemplate }],
  ] as const) {
    const { bytes } = await encodedRandomDelta(engine.info.base, { seed, rank: 2, ...brought })
    await edge.publish('key-acme', `acme/${name}`, bytes)
  }
})

afterAll(async () => {
  await edge?.close()
})

const QUESTION = { role: 'user', content: 'Hello' }
const ASKED = '<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n'
const NO_THOUGHT = '<think>\n\n</think>\n\n'

interface Whole {
  readonly usage: { readonly prompt_tokens: number }
  readonly choices: [{ readonly text?: string; readonly message?: { readonly content: string } }]
  readonly error: { readonly message: string; readonly param: string }
}

async function post(path: string, body: object): Promise<Whole> {
  const sent = JSON.stringify({ temperature: 0, max_tokens: 8, ...body })
  return (await (await edge.call('key-acme', path, { method: 'POST', body: sent })).json()) as Whole
}

async function expectPrompt(model: string, request: object, prompt: string): Promise<void> {
  const chat = await post('/v1/chat/completions', { model, messages: [QUESTION], ...request })
  const text = await post('/v1/completions', { model, prompt })
  expect(chat.usage).toMatchObject({ prompt_tokens: text.usage.prompt_tokens })
  expect(chat.choices[0].message?.content).toBe(text.choices[0].text)
}

test.each([
  [{}, ASKED],
  [{ chat_template_kwargs: null, reasoning_effort: null }, ASKED],
  [{ chat_template_kwargs: { enable_thinking: true } }, ASKED],
  [{ chat_template_kwargs: { enable_thinking: false, unread: [1] } }, ASKED + NO_THOUGHT],
  [{ reasoning_effort: 'none' }, ASKED + NO_THOUGHT],
  [{ reasoning_effort: 'low', chat_template_kwargs: { enable_thinking: false } }, ASKED + NO_THOUGHT],
])(
  'the base model and an adapter without a template of its own are asked with the base’s: %j',
  async (request, prompt) => {
    for (const model of ['tiny', 'acme/plain']) await expectPrompt(model, request, prompt)
  },
)

test.each([
  [{}, `Effort: \n${ASKED}`],
  [{ reasoning_effort: 'low' }, `Effort: low\n${ASKED}`],
  [{ reasoning_effort: 'none' }, `Effort: none\n${ASKED}${NO_THOUGHT}`],
  [{ chat_template_kwargs: { reasoning_effort: 7 } }, `Effort: 7\n${ASKED}`],
  [{ chat_template_kwargs: { reasoning_effort: 7 }, reasoning_effort: 'high' }, `Effort: high\n${ASKED}`],
])('an adapter is asked with its own template: %j', async (request, prompt) => {
  await expectPrompt('acme/own', request, prompt)
})

test.each(['reasoning', 'reasoning_content'])('what was thought before reaches the template as %s', async (name) => {
  const messages = [QUESTION, { role: 'assistant', content: 'Yes?', [name]: 'A greeting.' }, QUESTION]
  const prompt = `<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n<think>A greeting.</think>Yes?<|im_end|>\n${ASKED}`
  await expectPrompt('tiny', { messages }, prompt)
})

const deep = JSON.parse('['.repeat(501) + ']'.repeat(501)) as unknown
test.each([
  [{ chat_template_kwargs: { messages: [] } }, 'chat_template_kwargs'],
  [{ chat_template_kwargs: { chat_template: '{{ 1 }}' } }, 'chat_template_kwargs'],
  [{ chat_template_kwargs: { 'enable-thinking': false } }, 'chat_template_kwargs'],
  [{ chat_template_kwargs: { deep } }, 'chat_template_kwargs'],
  [{ chat_template_kwargs: { long: 'x'.repeat(20_000) } }, 'chat_template_kwargs'],
  [{ chat_template_kwargs: 'enable_thinking' }, 'chat_template_kwargs'],
  [{ reasoning_effort: 'much' }, 'reasoning_effort'],
  [{ messages: [{ role: 'assistant', content: 'Yes?', reasoning_content: 7 }] }, 'messages'],
])('what a template cannot be given is refused by its parameter’s name: %#', async (request, param) => {
  const { error } = await post('/v1/chat/completions', { model: 'tiny', messages: [QUESTION], ...request })
  expect(error.param).toBe(param)
  expectOneSentence(error.message)
})
