import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { embedMany, generateText, streamText } from 'ai'
import { expect, test } from 'vitest'
import { edgeOnBackends } from '../support/edge-on-backends.ts'

const { edge } = await edgeOnBackends()
await edge.addTenant('acme', 'key-acme')
const digest = await edge.publish('key-acme', 'acme/support')
const polylora = createOpenAICompatible({
  name: 'polylora',
  baseURL: `${edge.url}/v1`,
  apiKey: 'key-acme',
  includeUsage: true,
})

test('the Vercel AI SDK gets whole answers with usage', async () => {
  const { text, usage, finishReason } = await generateText({ model: polylora('acme/support'), prompt: 'hi' })
  expect(text).toBe(`${digest}Hello from the model.`)
  expect(usage).toMatchObject({ inputTokens: 7, outputTokens: 6 })
  expect(finishReason).toBe('stop')
})

test('the Vercel AI SDK gets streamed answers with usage', async () => {
  const result = streamText({ model: polylora('acme/support'), prompt: 'hi' })
  const pieces = await Array.fromAsync(result.textStream)
  expect(pieces.length).toBeGreaterThan(1)
  expect(pieces.join('')).toBe(`${digest}Hello from the model.`)
  expect(await result.usage).toMatchObject({ inputTokens: 7, outputTokens: 6 })
})

test('the Vercel AI SDK gets embeddings', async () => {
  const { embeddings } = await embedMany({ model: polylora.embeddingModel('tiny-base'), values: ['a', 'abc'] })
  expect(embeddings).toEqual([
    [1, 0, 0.5],
    [3, 0, 0.5],
  ])
})

test('the Vercel AI SDK sees refusals as such', async () => {
  const refused = generateText({ model: polylora('acme/unknown'), prompt: 'hi', maxRetries: 0 })
  await expect(refused).rejects.toMatchObject({ statusCode: 404 })
})
