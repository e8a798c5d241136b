// Requests that are very many faults, as few bytes can be: what is noted of them is the first.
import { expect, test } from 'vitest'
import type * as z from 'zod/mini'
import { ApiError, invalidRequest } from '../../../functions/errors.ts'
import { ChatCompletionRequest } from '../../../functions/openai/chat-request.ts'
import { CompletionRequest } from '../../../functions/openai/completion-request.ts'
import { EmbeddingRequest } from '../../../functions/openai/embedding-request.ts'
import { toSamplingParams } from '../../../functions/openai/sampling-fields.ts'
import { EmbedRequest, GenerateRequest, parseToFault } from '../../../gpu-backend/protocol.ts'

const MANY = 100_000
const many = (item: unknown) => Array.from({ length: MANY }, () => item)
const names = (letter: string, value: unknown) =>
  Object.fromEntries(Array.from({ length: MANY }, (_, i) => [`${letter}${i}`, value]))
const said = (content: unknown) => ({ role: 'user', content })
const MODEL = { model: 'tiny-base' }
const CHAT = { ...MODEL, messages: [said('hi')] }
const GENERATE = { delta: null, prompt: 'hi', sampling: {} }

test.each<[string, z.ZodMiniType, object, string]>([
  ['texts that are numbers', EmbeddingRequest, { ...MODEL, input: many(0) }, 'input.0'],
  ['texts that are empty', EmbeddingRequest, { ...MODEL, input: many('') }, 'input.0'],
  ['too many texts', EmbeddingRequest, { ...MODEL, input: many('x') }, 'input'],
  ['prompts that are objects', CompletionRequest, { ...MODEL, prompt: many({}) }, 'prompt.0'],
  ['prompts of nothing', CompletionRequest, { ...MODEL, prompt: many([]) }, 'prompt.0'],
  ['tokens below zero', CompletionRequest, { ...MODEL, prompt: many(-1) }, 'prompt.0'],
  ['prompts of tokens below zero', CompletionRequest, { ...MODEL, prompt: [many(-1), many(-1)] }, 'prompt.0.0'],
  ['stops that are numbers', ChatCompletionRequest, { ...CHAT, stop: many(0) }, 'stop.0'],
  ['tokens to stop at that are texts', ChatCompletionRequest, { ...CHAT, stop_token_ids: many('') }, 'stop_token_ids'],
  ['messages that are numbers', ChatCompletionRequest, { ...MODEL, messages: many(0) }, 'messages'],
  [
    'parts that are numbers',
    ChatCompletionRequest,
    { ...MODEL, messages: Array.from({ length: 1000 }, () => said(many(0).slice(0, 1000))) },
    'messages.0.content.0',
  ],
  [
    'variables of a template',
    ChatCompletionRequest,
    { ...CHAT, chat_template_kwargs: names('+', 0) },
    'chat_template_kwargs',
  ],
  ['texts that are numbers, to a backend', EmbedRequest, { delta: null, input: many(0) }, 'input'],
  ['prompts that are objects, to a backend', GenerateRequest, { ...GENERATE, prompt: many({}) }, 'prompt.0'],
  [
    'biases of no token, to a backend',
    GenerateRequest,
    { ...GENERATE, sampling: { logit_bias: names('x', 0) } },
    'sampling.logit_bias',
  ],
])('a request of very many %s is refused for the first of them, and no other is noted', (_, schema, request, where) => {
  const { success, error } = parseToFault(schema, request)
  expect(success).toBe(false)
  expect(invalidRequest(error!).message).toContain(`'${where}'`)
  // A union's is one for each kind of value that it may be.
  expect(JSON.stringify(error!.issues).length).toBeLessThan(2_000)
})

test.each([{ logit_bias: names('x', 0) }, { logit_bias: names('1', '') }])(
  'a request of very many biases is refused for their number',
  (fields) => {
    const request = ChatCompletionRequest.parse({ ...CHAT, ...fields })
    const refused = () => toSamplingParams(request, {})
    expect(refused).toThrow(ApiError)
    expect(refused).toThrow("Invalid value for 'logit_bias': at most 1024 entries.")
  },
)
