import OpenAI from 'openai'
import { expect, onTestFinished, test } from 'vitest'
import { startEdge, waitFor } from '../support/edge-harness.ts'
import { edgeOnBackends } from '../support/edge-on-backends.ts'
import { BACKEND_SECRET, ProtocolBackend } from '../support/protocol-backend.ts'

const { backend, edge } = await edgeOnBackends()
await edge.addTenant('acme', 'key-acme')
const digest = await edge.publish('key-acme', 'acme/support')
const client = new OpenAI({ apiKey: 'key-acme', baseURL: `${edge.url}/v1`, maxRetries: 0 })

test('a text completion continues a bare prompt, whole and streamed', async () => {
  const request = { model: 'acme/support', prompt: 'Once upon a time', max_tokens: 3, logprobs: 1 }
  const whole = await client.completions.create(request)
  expect(backend.generations.at(-1)?.request).toMatchObject({ prompt: 'Once upon a time', delta: digest })
  expect(whole).toMatchObject({
    object: 'text_completion',
    choices: [{ text: `${digest}Hello from`, finish_reason: 'length' }],
  })
  expect(whole.choices[0]?.logprobs).toMatchObject({
    tokens: [digest, 'Hello', ' from'],
    text_offset: [0, digest.length, digest.length + 5],
  })
  const chunks = await Array.fromAsync(await client.completions.create({ ...request, stream: true }))
  expect(chunks.map((chunk) => chunk.choices[0]?.text).join('')).toBe(`${digest}Hello from`)
  expect(chunks[2]?.choices[0]?.logprobs?.text_offset).toEqual([digest.length + 5])
})

test('a text completion is 16 tokens long where nothing is said, as OpenAI’s', async () => {
  await client.completions.create({ model: 'tiny-base', prompt: 'x' })
  expect(backend.generations.at(-1)?.request.sampling.max_tokens).toBe(16)
})

test('a text completion may be held to a format, as a chat', async () => {
  const format = { type: 'json_schema' as const, json_schema: { name: 'answer', schema: { type: 'object' } } }
  const request = { model: 'tiny-base', prompt: 'x', response_format: format }
  await client.completions.create(request)
  expect(backend.generations.at(-1)?.request.sampling.response_format).toEqual(format)
  const wrong = { ...request, response_format: { type: 'yaml' } }
  await expect(client.completions.create(wrong)).rejects.toMatchObject({ status: 400, param: 'response_format' })
})

test('ignore_eos is a text as long as it may be, which no token ends', async () => {
  const ignoring = (extra: object) =>
    client.completions.create({ model: 'tiny-base', prompt: 'x', ...{ ignore_eos: true }, ...extra })
  await ignoring({ max_tokens: 7 })
  expect(backend.generations.at(-1)?.request.sampling).toMatchObject({ min_tokens: 7, max_tokens: 7 })
  await ignoring({ min_tokens: 2 })
  expect(backend.generations.at(-1)?.request.sampling.min_tokens).toBe(16)
  await ignoring({ ignore_eos: false, min_tokens: 2 })
  expect(backend.generations.at(-1)?.request.sampling.min_tokens).toBe(2)
  const messages = [{ role: 'user' as const, content: 'x' }]
  const chat = { model: 'tiny-base', messages, ...{ ignore_eos: true } }
  await client.chat.completions.create({ ...chat, max_completion_tokens: 9 })
  expect(backend.generations.at(-1)?.request.sampling.min_tokens).toBe(9)
  await client.chat.completions.create(chat)
  expect(backend.generations.at(-1)?.request.sampling.min_tokens).toBeGreaterThan(1e9)
  await expect(ignoring({ stop_token_ids: [5] })).rejects.toMatchObject({ status: 400, param: 'ignore_eos' })
})

test('several prompts, texts or tokens, are one request with the choices of each in their order', async () => {
  const prompt = [[5, 6], [7]]
  const answer = await client.completions.create({ model: 'acme/support', prompt, n: 2, max_tokens: 2 })
  expect(backend.generations.at(-1)?.request).toMatchObject({ prompt, n: 2 })
  expect(answer.choices.map(({ index }) => index)).toEqual([0, 1, 2, 3])
  await client.completions.create({ model: 'tiny-base', prompt: ['one', 'two'] })
  expect(backend.generations.at(-1)?.request).toMatchObject({ prompt: ['one', 'two'] })
})

test.each([
  [{ suffix: 'end' }, 'suffix'],
  [{ structured_outputs: { regex: 'yes|no' } }, 'structured_outputs'],
  [{ echo: true }, 'echo'],
  [{ best_of: 3 }, 'best_of'],
  [{ prompt: [] }, 'prompt'],
  [{ prompt: [[0.5]] }, 'prompt'],
  [{ prompt: [-1] }, 'prompt'],
  [{ stream_options: {} }, 'stream_options'],
  [{ stop_regex: 'a+' }, 'stop_regex'],
  [{ use_beam_search: true }, 'use_beam_search'],
  [{ lora_path: 'support' }, 'lora_path'],
])('a text completion with %j is refused by the name of the parameter', async (extra, param) => {
  const request = { model: 'tiny-base', prompt: 'x', ...extra }
  await expect(client.completions.create(request)).rejects.toMatchObject({ status: 400, param })
})

test('embeddings come as the client asks, from the adapter, and are metered', async () => {
  const request = { model: 'acme/support', input: ['ab', 'abcd'] }
  // The client asks for base64 by itself, and decodes it.
  const { data: answer, response } = await client.embeddings.create(request).withResponse()
  expect(answer.data.map(({ embedding }) => Array.from(embedding))).toEqual([
    [2, 1, 0.5],
    [4, 1, 0.5],
  ])
  expect(answer.usage).toEqual({ prompt_tokens: 6, total_tokens: 6 })
  expect(response.headers.get('x-polylora-adapter')).toBe(digest)
  const floats = await client.embeddings.create({ model: 'tiny-base', input: 'abc', encoding_format: 'float' })
  expect(floats.data).toEqual([{ object: 'embedding', index: 0, embedding: [3, 0, 0.5] }])
  const record = await waitFor(() =>
    edge.db
      .prepare('SELECT * FROM usage WHERE request_id = ?')
      .bind(response.headers.get('x-request-id'))
      .first<Record<string, unknown>>(),
  )
  expect(record).toMatchObject({
    route: '/v1/embeddings',
    prompt_tokens: 6,
    completion_tokens: 0,
    digest,
    outcome: 'complete',
  })
})

test('more texts than a backend takes at once are embedded in their order, and are one request to whoever pays', async () => {
  const input = Array.from({ length: 600 }, (_, i) => 'x'.repeat(1 + (i % 50)))
  const before = backend.embedded
  const { data: answer, response } = await client.embeddings.create({ model: 'acme/support', input }).withResponse()
  expect(answer.data.map(({ index, embedding }) => [index, embedding[0]])).toEqual(
    input.map((text, i) => [i, text.length]),
  )
  expect(answer.usage.prompt_tokens).toBe(1800)
  expect(backend.embedded - before).toBe(3)
  const id = response.headers.get('x-request-id')
  const records = await waitFor(async () => {
    const { results } = await edge.db.prepare('SELECT prompt_tokens FROM usage WHERE request_id = ?').bind(id).all()
    return results.length > 0 && results
  })
  expect(records).toEqual([{ prompt_tokens: 1800 }])
})

test('texts that take longer than a backend may be silent are embedded in their order, so many at a time', async () => {
  const slow = await new ProtocolBackend().listen()
  const patienceMs = 2_000
  const impatient = await startEdge(slow.url, {
    POLYLORA_BACKEND_SECRET: BACKEND_SECRET,
    BACKEND_PATIENCE_MS: String(patienceMs),
  })
  onTestFinished(async () => {
    await impatient.close()
    await slow.close()
  })
  await impatient.addTenant('acme', 'key-acme')
  // Two bytes each: it is not the characters that take long.
  const input = [...Array.from({ length: 38 }, (_, i) => 'é'.repeat(500 + i)), 'é'.repeat(10_000), 'short']
  slow.behaviour.embedMs = (texts) => texts.join('').length / 20
  const all = slow.behaviour.embedMs(input)
  expect(all).toBeGreaterThan(0.7 * patienceMs)
  const body = JSON.stringify({ model: 'tiny-base', input })
  const response = await impatient.call('key-acme', '/v1/embeddings', { method: 'POST', body })
  const answer = (await response.json()) as { data: { index: number; embedding: number[] }[] }
  expect(answer.data.map(({ index, embedding }) => [index, embedding[0]])).toEqual(
    input.map((text, i) => [i, text.length]),
  )
  expect(slow.embedded).toBe(5)
})

test.each([
  ['', 'input'],
  [['a', ''], 'input.1'],
])('embeddings of an empty text are refused as such: %j', async (input, where) => {
  await expect(client.embeddings.create({ model: 'tiny-base', input })).rejects.toMatchObject({
    status: 400,
    message: `400 Invalid value for '${where}': must not be empty.`,
  })
})

test('embeddings of fewer dimensions than the model has are refused', async () => {
  await expect(client.embeddings.create({ model: 'tiny-base', input: 'hi', dimensions: 2 })).rejects.toMatchObject({
    status: 400,
    code: 'unsupported_parameter',
    param: 'dimensions',
  })
})

test.each([{ lora_path: 'support' }, { lora: [{ id: 0, scale: 1 }] }])(
  'embeddings are refused where the adapter is named as elsewhere, which the bare base would answer for: %j',
  async (extra) => {
    const [param] = Object.keys(extra)
    await expect(client.embeddings.create({ model: 'tiny-base', input: 'hi', ...extra })).rejects.toMatchObject({
      status: 400,
      code: 'unsupported_parameter',
      param,
      message: `400 Unsupported parameter: '${param}' is not available here: put <tenant>/<adapter> into 'model'.`,
    })
  },
)

test.each([[[5, 6]], [[[5, 6], [7]]]])('embeddings of token ids are refused as such: %j', async (input) => {
  await expect(client.embeddings.create({ model: 'tiny-base', input })).rejects.toMatchObject({
    status: 400,
    param: 'input',
    message: expect.stringMatching(/not token ids.*check_embedding_ctx_length=False/),
  })
})

test.each([
  [2049, 'at most 2048 texts'],
  [0, '>=1 items'],
])('embeddings of %i texts are refused', async (length, why) => {
  const input = Array.from({ length }, () => 'x')
  await expect(client.embeddings.create({ model: 'tiny-base', input })).rejects.toMatchObject({
    status: 400,
    param: 'input',
    message: expect.stringContaining(why),
  })
})
