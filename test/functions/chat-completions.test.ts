import { once } from 'node:events'
import { request } from 'node:http'
import { gzipSync } from 'node:zlib'
import OpenAI from 'openai'
import { beforeEach, describe, expect, test } from 'vitest'
import { waitFor } from '../support/edge-harness.ts'
import { edgeOnBackends } from '../support/edge-on-backends.ts'
import { BASE_INFO } from '../support/protocol-backend.ts'

const QUESTION = [{ role: 'user' as const, content: 'What is your return policy?' }]

const { backend, edge } = await edgeOnBackends()
await edge.addTenant('acme', 'key-acme')
await edge.addTenant('globex', 'key-globex')
const digest = await edge.publish('key-acme', 'acme/support')

beforeEach(() => backend.reset())

const client = (apiKey = 'key-acme') => new OpenAI({ apiKey, baseURL: `${edge.url}/v1`, maxRetries: 0 })

/** The usage records that the tenant's meter has handed to D1; waits for its alarm. */
async function usageOf(requestId: string): Promise<Record<string, unknown>> {
  return await waitFor(() => edge.db.prepare('SELECT * FROM usage WHERE request_id = ?').bind(requestId).first())
}

describe('the whole answer', () => {
  test('comes from the adapter that the name points at, and says so', async () => {
    const { data, response } = await client()
      .chat.completions.create({ model: 'acme/support', messages: QUESTION })
      .withResponse()
    expect(data.choices[0]?.message.content).toBe(`${digest}Hello from the model.`)
    expect(data.choices[0]?.finish_reason).toBe('stop')
    expect(data.usage).toMatchObject({ prompt_tokens: 7, completion_tokens: 6, total_tokens: 13 })
    expect(data.usage?.prompt_tokens_details?.cached_tokens).toBe(2)
    expect(data.model).toBe('acme/support')
    expect(data.object).toBe('chat.completion')
    expect(data).toHaveProperty('system_fingerprint', digest.slice(0, 19))
    expect(data).toMatchObject({
      polylora: { adapter: digest, tier: 'host', batch: { rows: 3, deltas: 2 }, queue_ms: 1.3, ttft_ms: 5 },
    })
    expect(response.headers.get('x-polylora-adapter')).toBe(digest)
    expect(response.headers.get('x-request-id')).toMatch(/^req_[0-9a-f]{32}$/)
  })

  test('comes from the bare base model under its own name, for every tenant', async () => {
    const answer = await client('key-globex').chat.completions.create({ model: 'tiny-base', messages: QUESTION })
    expect(answer.choices[0]?.message.content).toBe('Hello from the model.')
    expect(answer).toMatchObject({
      system_fingerprint: BASE_INFO.base.fingerprint.slice(0, 19),
      polylora: { adapter: null },
    })
  })

  test('has as many choices as were asked for, with log probabilities', async () => {
    const answer = await client().chat.completions.create({
      model: 'tiny-base',
      messages: QUESTION,
      n: 2,
      logprobs: true,
      top_logprobs: 1,
    })
    expect(answer.choices.map((choice) => choice.index)).toEqual([0, 1])
    const first = answer.choices[1]?.logprobs?.content?.[0]
    expect(first).toMatchObject({ token: 'Hello', logprob: -0.5, bytes: [72, 101, 108, 108, 111] })
    expect(first?.top_logprobs).toHaveLength(1)
  })

  test('ends by length where max_completion_tokens says so', async () => {
    const answer = await client().chat.completions.create({
      model: 'tiny-base',
      messages: QUESTION,
      max_completion_tokens: 2,
    })
    expect(answer.choices[0]).toMatchObject({ finish_reason: 'length', message: { content: 'Hello from' } })
  })
})

test.each([{ top_p: 0 }, { seed: -5 }, { seed: 2 ** 63 }, { seed: -(2 ** 63) }])(
  'a parameter at the end of OpenAI’s range reaches the backend: %o',
  async (extra) => {
    await client().chat.completions.create({ model: 'tiny-base', messages: QUESTION, ...extra })
    expect(backend.generations.at(-1)?.request.sampling).toMatchObject(extra)
  },
)

test('top_k may be -1, as vLLM writes that it is off', async () => {
  const post = (top_k: number) => {
    const body = JSON.stringify({ model: 'tiny-base', messages: QUESTION, top_k })
    return edge.call('key-acme', '/v1/chat/completions', { method: 'POST', body })
  }
  expect((await post(-1)).status).toBe(200)
  expect(backend.generations.at(-1)?.request.sampling.top_k).toBe(0)
  expect(await (await post(-2)).json()).toMatchObject({ error: { param: 'top_k' } })
})

test('what an assistant refused before is a part of the conversation', async () => {
  const refusal = 'I cannot help with that.'
  const messages = [
    ...QUESTION,
    { role: 'assistant' as const, content: [{ type: 'refusal' as const, refusal }] },
    { role: 'assistant' as const, content: null, refusal },
  ]
  await client().chat.completions.create({ model: 'tiny-base', messages })
  const refused = { role: 'assistant', content: refusal }
  expect(backend.generations.at(-1)?.request.messages?.slice(1)).toEqual([refused, refused])
})

describe('the streamed answer', () => {
  test('brings the text piece by piece, a role first and a finish reason last', async () => {
    const stream = await client().chat.completions.create({ model: 'acme/support', messages: QUESTION, stream: true })
    const chunks = await Array.fromAsync(stream)
    expect(chunks[0]?.choices[0]?.delta.role).toBe('assistant')
    expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('')).toBe(`${digest}Hello from the model.`)
    expect(chunks.at(-1)?.choices[0]?.finish_reason).toBe('stop')
    expect(chunks.every((chunk) => chunk.choices.length === 1 && chunk.usage === undefined)).toBe(true)
    expect(chunks.at(-1)).toMatchObject({ polylora: { adapter: digest } })
    expect(new Set(chunks.map((chunk) => chunk.id)).size).toBe(1)
  })

  test('ends with a chunk of usage where stream_options asks for it', async () => {
    const stream = await client().chat.completions.create({
      model: 'tiny-base',
      messages: QUESTION,
      stream: true,
      stream_options: { include_usage: true },
    })
    const chunks = await Array.fromAsync(stream)
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { prompt_tokens: 7, completion_tokens: 5 } })
    expect(chunks.slice(0, -1).every((chunk) => chunk.usage === null)).toBe(true)
  })

  test('is server-sent events that end with [DONE]', async () => {
    const response = await edge.call('key-acme', '/v1/chat/completions', {
      method: 'POST',
      body: JSON.stringify({ model: 'tiny-base', messages: QUESTION, stream: true }),
    })
    expect(response.headers.get('content-type')).toContain('text/event-stream')
    const blocks = (await response.text()).split('\n\n')
    expect(blocks.at(-1)).toBe('')
    expect(blocks.at(-2)).toBe('data: [DONE]')
    for (const block of blocks.slice(0, -2)) expect(JSON.parse(block.slice('data: '.length))).toHaveProperty('id')
  })

  test('arrives while the backend is still generating', async () => {
    const gate = Promise.withResolvers<void>()
    let words = 0
    backend.behaviour.pace = async () => {
      if (words++ > 0) await gate.promise
    }
    const stream = await client().chat.completions.create({ model: 'tiny-base', messages: QUESTION, stream: true })
    const chunks = stream[Symbol.asyncIterator]()
    expect((await chunks.next()).value?.choices[0]?.delta.content).toBe('Hello')
    gate.resolve()
    let last = await chunks.next()
    while (!last.done) last = await chunks.next()
  })

  test('ends with an error instead of [DONE] where the backend goes away in the middle', async () => {
    backend.behaviour.cutAfter = 2
    const stream = await client().chat.completions.create({ model: 'tiny-base', messages: QUESTION, stream: true })
    const seen: string[] = []
    await expect(async () => {
      for await (const chunk of stream) seen.push(chunk.choices[0]?.delta.content ?? '')
    }).rejects.toThrow(/stopped before the answer was complete/)
    expect(seen.join('')).toBe('Hello from')
  })
})

describe('a request that cannot be served', () => {
  test('is 401 with a wrong key and with none, in the format of OpenAI', async () => {
    await expect(
      client('wrong').chat.completions.create({ model: 'tiny-base', messages: QUESTION }),
    ).rejects.toMatchObject({
      status: 401,
      code: 'invalid_api_key',
    })
    const response = await fetch(`${edge.url}/v1/models`)
    expect(response.status).toBe(401)
    expect(response.headers.get('x-request-id')).toMatch(/^req_/)
    expect(await response.json()).toMatchObject({ error: { type: 'authentication_error', param: null } })
  })

  test('is the same 404 for an unknown model and for another tenant’s', async () => {
    const unknown = await client('key-globex')
      .chat.completions.create({ model: 'acme/unknown', messages: QUESTION })
      .catch((error) => error)
    const foreign = await client('key-globex')
      .chat.completions.create({ model: 'acme/support', messages: QUESTION })
      .catch((error) => error)
    expect(unknown).toMatchObject({ status: 404, code: 'model_not_found', param: 'model' })
    expect(foreign).toMatchObject({ status: 404, code: 'model_not_found', param: 'model' })
    expect(foreign.message.replace('support', 'unknown')).toBe(unknown.message)
  })

  test.each([
    [{ messages: QUESTION }, 'model'],
    [{ model: 'tiny-base', messages: [] }, 'messages'],
    [{ model: 'tiny-base', messages: [{ role: 'robot', content: 'x' }] }, 'messages'],
    [{ model: 'tiny-base', messages: QUESTION, temperature: 3 }, 'temperature'],
    [{ model: 'tiny-base', messages: QUESTION, top_p: -0.1 }, 'top_p'],
    [{ model: 'tiny-base', messages: QUESTION, seed: 0.5 }, 'seed'],
    [{ model: 'tiny-base', messages: QUESTION, n: 99 }, 'n'],
    [{ model: 'tiny-base', messages: QUESTION, max_tokens: 0 }, 'max_tokens'],
    [{ model: 'tiny-base', messages: QUESTION, tools: [{ type: 'function' }] }, 'tools'],
    [{ model: 'tiny-base', messages: QUESTION, logit_bias: { x: 1 } }, 'logit_bias'],
    [{ model: 'tiny-base', messages: QUESTION, top_logprobs: 2 }, 'top_logprobs'],
    [{ model: 'tiny-base', messages: QUESTION, stream_options: { include_usage: true } }, 'stream_options'],
  ])('is 400 and names the parameter at fault (%#: %o)', async (body, param) => {
    const response = await edge.call('key-acme', '/v1/chat/completions', { method: 'POST', body: JSON.stringify(body) })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ error: { type: 'invalid_request_error', param } })
  })

  test.each([
    [{ structured_outputs: { choice: ['yes', 'no'] } }, "use 'response_format'"],
    [{ guided_json: { type: 'object' } }, "use 'response_format'"],
    [{ ebnf: 'root ::= "yes"' }, "use 'response_format'"],
    [{ functions: [{ name: 'time' }] }, "use 'tools'"],
    [{ bad_words: ['no'] }, 'leave it out'],
    [{ prompt_logprobs: 0 }, 'leave it out'],
    [{ continue_final_message: true, add_generation_prompt: false }, 'leave it out'],
    [{ add_generation_prompt: false }, 'leave it out'],
    [{ chat_template: '{{ messages }}' }, 'leave it out'],
    [{ documents: [{ title: 'a', text: 'b' }] }, 'leave it out'],
    [{ use_beam_search: true }, 'leave it out'],
    [{ stop_regex: ['a+'] }, 'leave it out'],
    [{ lora_path: 'support' }, "put <tenant>/<adapter> into 'model'"],
    [{ lora: [{ id: 0, scale: 1 }] }, "put <tenant>/<adapter> into 'model'"],
  ])('is 400 where it has %j, which would be another answer elsewhere, and says what to do', async (extra, advice) => {
    const body = JSON.stringify({ model: 'tiny-base', messages: QUESTION, ...extra })
    const response = await edge.call('key-acme', '/v1/chat/completions', { method: 'POST', body })
    const [param] = Object.keys(extra)
    const message = `Unsupported parameter: '${param}' is not available here: ${advice}.`
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ error: { code: 'unsupported_parameter', param, message } })
  })

  test('is served where it has what clients send without meaning it, and what they got back before', async () => {
    const said = {
      content: 'Hello.',
      refusal: null,
      audio: null,
      annotations: [],
      function_call: null,
      tool_calls: null,
    }
    const body = JSON.stringify({
      model: 'tiny-base',
      messages: [
        { role: 'developer', content: [{ type: 'text', text: 'Be brief.', cache_control: null }], name: 'us' },
        { role: 'assistant', ...said, parsed: null, provider_specific_fields: null },
        { role: 'assistant', content: 'Yes?', tool_calls: [] },
        ...QUESTION,
      ],
      ...{ store: true, metadata: { a: 'b' }, service_tier: 'auto', verbosity: 'low', modalities: ['text'] },
      ...{ safety_identifier: 'x', prompt_cache_key: 'y', prompt_cache_retention: '24h', reasoning_effort: 'low' },
      ...{ tools: [], tool_choice: 'auto', parallel_tool_calls: true, functions: [], function_call: 'none' },
      ...{ stream_options: null, response_format: null, logit_bias: {}, stop: [], logprobs: false, top_logprobs: 0 },
      ...{ structured_outputs: null, bad_words: [], include_stop_str_in_output: false, echo: false, best_of: 1 },
      ...{ add_generation_prompt: true, chat_template: null, documents: [], use_beam_search: false, lora_path: null },
    })
    const response = await edge.call('key-acme', '/v1/chat/completions', { method: 'POST', body })
    expect(response.status).toBe(200)
    const roles = backend.generations.at(-1)?.request.messages?.map(({ role, content }) => [role, content])
    expect(roles?.slice(0, 3)).toEqual([
      ['developer', 'Be brief.'],
      ['assistant', 'Hello.'],
      ['assistant', 'Yes?'],
    ])
  })

  test.each([
    ['response_format', '{"type":"json_schema","json_schema":{"schema":DEEP}}'],
    ['response_format', '{"type":"json_schema","json_schema":{"schema":{},"description":DEEP}}'],
    ['tools', '[{"type":"function","function":{"name":"f","parameters":DEEP}}]'],
    [
      'messages',
      `[{"role":"assistant","tool_calls":[${JSON.stringify({ id: 'c', type: 'function', function: { name: 'f', arguments: 'DEEP' } })}]}]`,
    ],
  ])('is 400 where %s is nested beyond what can be walked through: %s', async (param, value) => {
    const deep = `${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}`
    const wanted = value.replace('"DEEP"', JSON.stringify(deep)).replace('DEEP', deep)
    const body = `{"model":"tiny-base","messages":[{"role":"user","content":"hi"}],"${param}":${wanted}}`
    const response = await edge.call('key-acme', '/v1/chat/completions', { method: 'POST', body })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ error: { param, message: expect.stringContaining('nested') } })
  })

  test.each([null, '', false, []])('is none where such a parameter says nothing, with %j', async (grammar) => {
    const request = { model: 'tiny-base', messages: QUESTION, grammar }
    await expect(client().chat.completions.create(request)).resolves.toMatchObject({ object: 'chat.completion' })
  })

  test('is 404 where OpenAI has a route that is none here, and says where those are that are', async () => {
    const asked = client().images.generate({ model: 'tiny-base', prompt: 'hi' })
    const message = '404 Unknown request URL: POST /v1/images/generations; GET /docs lists what there is.'
    await expect(asked).rejects.toMatchObject({ status: 404, code: 'unknown_url', message })
    expect((await edge.call('', '/docs', {})).status).toBe(200)
  })

  test('is 404 for the Responses API, which clients ask by default, and says what to ask instead', async () => {
    const asked = client().responses.create({ model: 'tiny-base', input: 'hi' })
    const message =
      '404 Unknown request URL: POST /v1/responses; set the client to chat completions, POST /v1/chat/completions.'
    await expect(asked).rejects.toMatchObject({ status: 404, code: 'unknown_url', message })
  })

  test('is 400 where the body is no JSON', async () => {
    const response = await edge.call('key-acme', '/v1/chat/completions', { method: 'POST', body: '{' })
    expect(response.status).toBe(400)
  })

  test('is 400 where a parameter is missing, and says so', async () => {
    const call = { method: 'POST', body: '{"model":"tiny-base"}' }
    const response = await edge.call('key-acme', '/v1/chat/completions', call)
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({
      error: { code: 'invalid_value', param: 'messages', message: "Invalid value for 'messages': it is missing." },
    })
  })

  test('is 400 where the body is compressed, and says so', async () => {
    const body = gzipSync(JSON.stringify({ model: 'tiny-base', messages: QUESTION }))
    const headers = { 'content-encoding': 'gzip' }
    const response = await edge.call('key-acme', '/v1/chat/completions', { method: 'POST', headers, body })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({
      error: { code: 'invalid_json', message: expect.stringContaining('(gzip)') },
    })
  })

  test('is 413 before the body is read where it is announced as too large', async () => {
    const headers = { authorization: 'Bearer key-acme', 'content-length': 5 * 1024 * 1024 }
    const upload = request(`${edge.url}/v1/chat/completions`, { method: 'POST', headers })
    upload.flushHeaders()
    const [response] = await once(upload, 'response')
    expect(response.statusCode).toBe(413)
    upload.destroy()
  })

  test.each([
    ['context_length_exceeded', 400, 'context_length_exceeded'],
    ['overloaded', 429, 'overloaded'],
    ['unavailable', 503, 'backend_unavailable'],
    ['unauthorized', 502, 'backend_error'],
    ['internal', 502, 'backend_error'],
  ] as const)('says what a backend that answers %s means for the caller', async (code, status, edgeCode) => {
    backend.behaviour.refuse = code
    await expect(client().chat.completions.create({ model: 'tiny-base', messages: QUESTION })).rejects.toMatchObject({
      status,
      code: edgeCode,
    })
  })
})

describe('the adapter’s bytes', () => {
  test('are pushed once to a backend that lacks them', async () => {
    backend.deltas.delete(digest)
    backend.pushes.length = 0
    for (const cold of [true, false]) {
      const answer = await client().chat.completions.create({ model: 'acme/support', messages: QUESTION })
      expect(answer).toMatchObject({ polylora: { cold } })
    }
    expect(backend.pushes).toEqual([digest])
  })

  test('missing from storage fail the request: the base model never answers for an adapter', async () => {
    const lost = await edge.publish('key-acme', 'acme/lost', 5)
    await edge.deltas.delete(`deltas/${lost.replace(':', '/')}`)
    await expect(client().chat.completions.create({ model: 'acme/lost', messages: QUESTION })).rejects.toMatchObject({
      status: 500,
      code: 'adapter_object_missing',
    })
  })

  test('corrupted in storage fail the request', async () => {
    const corrupt = await edge.publish('key-acme', 'acme/corrupt', 6)
    await edge.deltas.put(`deltas/${corrupt.replace(':', '/')}`, 'garbage')
    await expect(client().chat.completions.create({ model: 'acme/corrupt', messages: QUESTION })).rejects.toMatchObject(
      {
        status: 500,
        code: 'adapter_invalid',
      },
    )
  })

  test('that a backend cannot keep fail the request', async () => {
    backend.deltas.delete(digest)
    backend.behaviour.forgetful = true
    await expect(client().chat.completions.create({ model: 'acme/support', messages: QUESTION })).rejects.toMatchObject(
      {
        status: 503,
        code: 'adapter_not_resident',
      },
    )
  })
})

describe('the usage record', () => {
  test('names tenant, key, digest, tier and tokens of a finished request', async () => {
    const { response } = await client()
      .chat.completions.create({ model: 'acme/support', messages: QUESTION })
      .withResponse()
    expect(await usageOf(response.headers.get('x-request-id')!)).toMatchObject({
      tenant: 'acme',
      adapter: 'support',
      digest,
      base: BASE_INFO.base.fingerprint,
      prompt_tokens: 7,
      cached_tokens: 2,
      completion_tokens: 6,
      tier: 'host',
      backend: backend.url,
      outcome: 'complete',
      route: '/v1/chat/completions',
    })
  })

  test('of a client that leaves counts what was generated, and the backend is told to stop', async () => {
    const gate = Promise.withResolvers<void>()
    let words = 0
    backend.behaviour.pace = async () => {
      if (words++ > 1) await gate.promise
    }
    const { data: stream, response } = await client()
      .chat.completions.create({ model: 'tiny-base', messages: QUESTION, stream: true })
      .withResponse()
    const requestId = response.headers.get('x-request-id')!
    let seen = 0
    for await (const _ of stream) if (++seen === 2) break
    const generation = backend.generations.find((candidate) => candidate.requestId === requestId)!
    await waitFor(async () => generation.closed)
    gate.resolve()
    expect(await usageOf(requestId)).toMatchObject({ outcome: 'cut', cached_tokens: 2, completion_tokens: 2 })
  })

  test('does not exist for a request that no backend took', async () => {
    backend.behaviour.refuse = 'unavailable'
    const failed = await client()
      .chat.completions.create({ model: 'tiny-base', messages: QUESTION })
      .catch((error) => error)
    backend.behaviour.refuse = undefined
    const { response } = await client()
      .chat.completions.create({ model: 'tiny-base', messages: QUESTION })
      .withResponse()
    await usageOf(response.headers.get('x-request-id')!)
    expect(await edge.db.prepare('SELECT 1 FROM usage WHERE request_id = ?').bind(failed.requestID).first()).toBeNull()
  })
})

describe('a web page of another origin', () => {
  const origin = 'https://shop.example'

  test('may ask: a preflight needs no key, and the answer’s headers may be read', async () => {
    const preflight = await fetch(`${edge.url}/v1/chat/completions`, {
      method: 'OPTIONS',
      headers: {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization,content-type',
      },
    })
    expect(preflight.status).toBe(204)
    expect(preflight.headers.get('access-control-allow-origin')).toBe('*')
    expect(preflight.headers.get('access-control-allow-headers')).toBe('authorization,content-type')
    for (const key of ['key-acme', 'wrong']) {
      const response = await edge.call(key, '/v1/models', { headers: { origin } })
      expect(response.headers.get('access-control-allow-origin')).toBe('*')
      expect(response.headers.get('access-control-expose-headers')).toContain('x-request-id')
      expect(response.headers.get('access-control-allow-credentials')).toBeNull()
    }
  })

  test('has no business with the admin API', async () => {
    const preflight = await fetch(`${edge.url}/admin/v1/tenants`, {
      method: 'OPTIONS',
      headers: { origin, 'access-control-request-method': 'GET', 'access-control-request-headers': 'authorization' },
    })
    expect(preflight.headers.get('access-control-allow-origin')).toBeNull()
  })
})
