import { once } from 'node:events'
import type { ClientRequest, IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { afterEach, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { digestOf } from '../../adapters/digest.ts'
import { MAX_DELTA_BYTES } from '../../functions/registry/objects.ts'
import { Work } from '../../gpu-backend/capability.ts'
import type { Engine, EngineEvent } from '../../gpu-backend/engine/engine.ts'
import { BackendError } from '../../gpu-backend/errors.ts'
import {
  BackendInfo,
  EmbedResponse,
  ERROR_STATUS,
  ErrorBody,
  type ErrorCode,
  SamplingParams,
} from '../../gpu-backend/protocol.ts'
import {
  type BackendClient,
  eventsOf,
  generation,
  responseTo,
  serve,
  textOf,
  token,
} from '../support/backend-client.ts'
import { expectOneSentence } from '../support/one-sentence.ts'
import fc from '../support/properties.ts'
import { type EncodedDelta, encodedRandomDelta } from '../support/random-delta.ts'
import { tinyEngines } from '../support/tiny-engine.ts'

const engines = tinyEngines()
const ROWS = 4
const QUEUE = 8
const MISSING = `sha256:${'0'.repeat(64)}`
/** For what happens in the middle of answers: these take far longer than all that is done meanwhile. */
const LONG_TOKENS = 2000
const LONG_MODEL = { config: { max_position_embeddings: 2 * LONG_TOKENS } }
const LONG = { sampling: { max_tokens: LONG_TOKENS, min_tokens: LONG_TOKENS } }
const MAY_BE_LONG = { limits: { max_tokens: LONG_TOKENS, max_delta_bytes: 0 } }
/** Of an engine's event, all but the text itself. */
const TEXT = { event: 'text', index: 0, tokens: 1, logprobs: undefined } as const
const NO_BATCH = { rows: 1, deltas: 0 }
let engine: Engine
let client: BackendClient
let delta: EncodedDelta

beforeAll(async () => {
  engine = await engines.start({ maxBatch: ROWS, maxQueue: QUEUE, maxDeltaBytes: 5_000_000 })
  client = (await serve(engine)).client
  delta = await encodedRandomDelta(engine.info.base, { seed: 1, rank: 4 })
  expect((await client.push(delta.digest, delta.bytes)).status).toBe(201)
})

afterEach(async () => {
  await idle(engine)
})

/** Resolves when nothing runs or waits; a leak makes the test time out. */
async function idle(one: Engine): Promise<void> {
  for (let stats = await one.stats(); stats.running + stats.waiting > 0; stats = await one.stats()) {}
}

/** The engine with some of its methods replaced. */
function standIn(methods: Partial<Engine>): Engine {
  return new Proxy(engine, {
    get(_, name) {
      const value: unknown = Reflect.get(engine, name)
      return Reflect.get(methods, name) ?? (typeof value === 'function' ? value.bind(engine) : value)
    },
  })
}

/** Fails unless this is the refusal `code`, in one sentence. */
async function expectRefusal(response: Response, code: ErrorCode): Promise<ErrorBody> {
  const body = ErrorBody.parse(await response.json())
  expect([response.status, body.error]).toEqual([ERROR_STATUS[code], code])
  expect(response.headers.get('content-type')).toContain('application/json')
  expect(response.headers.get('x-request-id')).toBeTruthy()
  expectOneSentence(body.message)
  return body
}

describe('an answer over HTTP', () => {
  test('is a stream of events that ends with done, under the id that the edge gave', async () => {
    const response = await client.generate({ delta: delta.digest, sampling: { logprobs: 2 } })
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toBe('application/x-ndjson')
    const events = await eventsOf(response)
    expect(events[0]).toMatchObject({ event: 'started', base: engine.info.base.fingerprint, delta: delta.digest })
    expect(events.at(-1)).toMatchObject({ event: 'done', usage: { completion_tokens: 8 } })
    const done = events.at(-1)
    if (done?.event === 'done') expect(done.queue_ms).toBeLessThanOrEqual(done.ttft_ms)
    if (done?.event === 'done') expect(done.ttft_ms).toBeLessThanOrEqual(done.total_ms)
  })

  test('is the same for a prompt with surrogates, zeros and every script', async () => {
    const prompt = 'a\u0000b 漢字 🙂 \ud83d Ünïcödé \u202e'
    const [first, second] = [await client.generate({ prompt }), await client.generate({ prompt })]
    expect(textOf(await eventsOf(first))).toBe(textOf(await eventsOf(second)))
  })

  test('can be embeddings', async () => {
    const body = JSON.stringify({ delta: delta.digest, input: ['one', 'two'] })
    const response = await client.fetch('POST', '/v1/embeddings', body, { delta: delta.digest })
    const { embeddings } = EmbedResponse.parse(await response.json())
    expect(embeddings).toHaveLength(2)
    for (const vector of embeddings) expect(Math.hypot(...vector)).toBeCloseTo(1, 5)
  })

  test('of embeddings comes before its deadline or is a refusal, and leaves nothing running', async () => {
    const ask = (fields: object) =>
      client.fetch('POST', '/v1/embeddings', JSON.stringify({ delta: null, input: ['x'], ...fields }))
    expect((await ask({ deadline_ms: 600_000 })).status).toBe(200)
    const many = new Array(12).fill('so many words '.repeat(20))
    const { message } = await expectRefusal(await ask({ input: many, deadline_ms: 1 }), 'deadline_exceeded')
    expect(message).toContain('1 ms')
  })

  test('repeats a request id that is fit for a log, and replaces one that is not', async () => {
    const ask = async (id: string) =>
      (await fetch(`${client.url}/healthz`, { headers: { 'x-request-id': id } })).headers
    expect((await ask('edge-123')).get('x-request-id')).toBe('edge-123')
    expect((await ask('{"level":"error"}')).get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/)
    expect((await ask('x'.repeat(200))).get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/)
  })
})

describe('a request that is not as the contract says', () => {
  test.each<[string, unknown]>([
    ['a string', '"hello"'],
    ['an array', '[]'],
    ['null', 'null'],
    ['nothing', ''],
    ['half an object', '{"delta":'],
    ['no object of ours', '{}'],
    ['not UTF-8', Uint8Array.of(0x7b, 0x22, 0xff, 0xfe, 0x22, 0x7d)],
    ['nested beyond sense', `${'['.repeat(100_000)}${']'.repeat(100_000)}`],
  ])('as a whole, being %s, is refused', async (_, body) => {
    for (const path of ['/v1/generate', '/v1/embeddings']) {
      await expectRefusal(await client.fetch('POST', path, body as string), 'bad_request')
    }
  })

  const wrong: readonly (readonly [field: string, body: Record<string, unknown>])[] = [
    ['messages', { messages: [] }],
    ['messages', { messages: 'Hi' }],
    ['messages.0.role', { messages: [{ role: 'wizard', content: 'Hi' }] }],
    ['messages.0.content', { messages: [{ role: 'user', content: 7 }] }],
    ['messages.0', { messages: [{ role: 'user', content: 'Hi', name: 'Bob' }] }],
    ['prompt', { prompt: 7 }],
    ['prompt', { prompt: 'x'.repeat(2_000_001) }],
    ['exactly one', { prompt: 'Hi', messages: [{ role: 'user', content: 'Hi' }] }],
    ['delta', { delta: 'acme/support' }],
    ['delta', { delta: MISSING.toUpperCase() }],
    ['delta', { delta: undefined }],
    ['n', { n: 0 }],
    ['n', { n: 1e9 }],
    ['n', { n: 1.5 }],
    ['deadline_ms', { deadline_ms: -1 }],
    ['deadline_ms', { deadline_ms: 1e300 }],
    ['sampling', { sampling: 'hot' }],
    ['unknown', { unknown: 1 }],
    ['unknown', { sampling: { unknown: 1 } }],
    ['sampling.temperature', { sampling: { temperature: -0.1 } }],
    ['sampling.temperature', { sampling: { temperature: 1e300 } }],
    ['sampling.temperature', { sampling: { temperature: '1' } }],
    ['sampling.temperature', { sampling: { temperature: null } }],
    ['sampling.top_p', { sampling: { top_p: -0.1 } }],
    ['sampling.top_k', { sampling: { top_k: -1 } }],
    ['sampling.top_k', { sampling: { top_k: 2 ** 60 } }],
    ['sampling.min_p', { sampling: { min_p: 1.1 } }],
    ['sampling.max_tokens', { sampling: { max_tokens: 0 } }],
    ['sampling.max_tokens', { sampling: { max_tokens: 1e21 } }],
    ['sampling.min_tokens', { sampling: { min_tokens: -1 } }],
    ['sampling.seed', { sampling: { seed: 0.5 } }],
    ['sampling.seed', { sampling: { seed: 2 ** 64 } }],
    ['sampling.presence_penalty', { sampling: { presence_penalty: 3 } }],
    ['sampling.frequency_penalty', { sampling: { frequency_penalty: -3 } }],
    ['sampling.repetition_penalty', { sampling: { repetition_penalty: 0 } }],
    ['sampling.logprobs', { sampling: { logprobs: 21 } }],
    ['sampling.logprobs', { sampling: { logprobs: true } }],
    ['sampling.stop', { sampling: { stop: 'x' } }],
    ['sampling.stop.0', { sampling: { stop: [''] } }],
    ['sampling.stop', { sampling: { stop: new Array(17).fill('x') } }],
    ['sampling.stop_token_ids.0', { sampling: { stop_token_ids: [-1] } }],
    ['sampling.logit_bias', { sampling: { logit_bias: { hello: 1 } } }],
    ['sampling.logit_bias', { sampling: { logit_bias: { 1: 101 } } }],
    ['sampling.logit_bias', { sampling: { logit_bias: Object.fromEntries(new Array(1025).fill(0).entries()) } }],
    ['sampling.response_format', { sampling: { response_format: { type: 'xml' } } }],
  ]
  test.each(wrong.map(([field, body]) => [field, JSON.stringify(body).slice(0, 80), body] as const))(
    'in %s is refused by that name: %s',
    async (field, _, body) => {
      const sent = { ...generation(body), ...('delta' in body ? { delta: body.delta } : {}) }
      const { message } = await expectRefusal(
        await client.fetch('POST', '/v1/generate', JSON.stringify(sent)),
        'bad_request',
      )
      expect(message).toContain(field)
      expect(message.length).toBeLessThan(400)
    },
  )

  test.each([
    ['cannot be held to', { type: 'number', multipleOf: 3 }],
    ['is too ambiguous', { type: 'array', items: { anyOf: Array.from({ length: 21_000 }, (_, i) => ({ const: i })) } }],
  ])('with a schema that %s is refused with the name of the parameter', async (_, schema) => {
    const sampling = { response_format: { type: 'json_schema', json_schema: { schema } } }
    const sent = JSON.stringify(generation({ sampling }))
    const refused = await expectRefusal(await client.fetch('POST', '/v1/generate', sent), 'bad_request')
    expect(refused.param).toBe('response_format')
  })

  test.each([
    [{ delta: null, input: [] }],
    [{ delta: null, input: 'text' }],
    [{ delta: null, input: new Array(257).fill('x') }],
    [{ delta: null, input: [1] }],
    [{ delta: null, input: ['x'], more: 1 }],
    [{ delta: null, input: ['x'], deadline_ms: 0 }],
    [{ delta: null, input: [''] }],
    [{ input: ['x'] }],
  ])('for embeddings is refused: %#', async (body) => {
    await expectRefusal(await client.fetch('POST', '/v1/embeddings', JSON.stringify(body)), 'bad_request')
  })

  test('whatever it holds, is answered or refused in a sentence, and never fails the backend', async () => {
    const fields = ['delta', 'prompt', 'messages', 'n', 'deadline_ms', 'extra']
    const samplings = Object.keys(SamplingParams.shape)
    const value = fc.oneof(
      fc.jsonValue({ maxDepth: 2 }),
      fc.constantFrom(0, 1, -1, 0.5, 1e9, 1e300, '', 'x', null, true, [], {}, [1], ['x'], { 1: 1 }, { type: 'text' }),
    )
    const entries = (names: string[]) => fc.array(fc.tuple(fc.constantFrom(...names), value), { maxLength: 3 })
    await fc.assert(
      fc.asyncProperty(entries(fields), entries(samplings), async (outer, inner) => {
        const body = generation({ ...Object.fromEntries(outer), sampling: Object.fromEntries(inner) })
        const response = await client.fetch('POST', '/v1/generate', JSON.stringify({ deadline_ms: 200, ...body }))
        if (response.status === 200) expect((await eventsOf(response)).at(-1)?.event).toBe('done')
        else {
          expect([400, 403, 409, 429]).toContain(response.status)
          const { error } = ErrorBody.parse(await response.clone().json())
          await expectRefusal(response, error as ErrorCode)
        }
      }),
      {
        numRuns: 300,
        examples: [
          [[], [['min_tokens', 1e9]]],
          [[], [['max_tokens', 1e9]]],
          [[], [['repetition_penalty', Number.MIN_VALUE]]],
          [[], [['temperature', Number.MIN_VALUE]]],
          [[['n', 16]], []],
          [[['delta', MISSING]], []],
        ],
      },
    )
  })

  test('is refused when its prompt does not fit the context, in the words that clients look for', async () => {
    const messages = [{ role: 'user', content: 'word '.repeat(2000) }]
    const much = [{ prompt: 'word '.repeat(2000) }, { sampling: { max_tokens: 512 } }, { messages }]
    for (const request of [...much, { prompt: 'x'.repeat(1_000_000) }]) {
      const { message } = await expectRefusal(await client.generate(request), 'context_length_exceeded')
      expect(message).toMatch(/^This model's maximum context length is \d+ tokens, but /)
    }
  })

  test('is refused when it is larger than any request can be, without being read', async () => {
    const body = JSON.stringify(generation({ prompt: 'x'.repeat(9_000_000) }))
    await expectRefusal(await client.fetch('POST', '/v1/generate', body), 'too_large')
  })

  test.each([
    ['GET', '/v1/generate'],
    ['POST', '/v1/adapters'],
    ['POST', `/v1/adapters/${MISSING}`],
    ['GET', '/'],
    ['GET', '/v1/generate/../base/x'],
    ['PATCH', '/healthz'],
    ['DELETE', '/v1/adapters/'],
  ])('%s %s is not found', async (method, path) => {
    await expectRefusal(await client.fetch(method, path), 'not_found')
  })

  test.each(['acme', 'sha256:1234', `${MISSING}0`, 'sha256%3A', '..%2f..%2fetc%2fpasswd'])(
    '%s is no digest',
    async (digest) => {
      for (const method of ['PUT', 'DELETE']) {
        await expectRefusal(await client.fetch(method, `/v1/adapters/${digest}`), 'bad_request')
      }
    },
  )
})

describe('a capability token', () => {
  test.each([
    ['missing', ''],
    ['nonsense', 'nonsense'],
    ['nonsense with a dot', 'e30.e30'],
    ['very long', 'x'.repeat(10_000)],
  ])('that is %s is refused on every route that does work', async (_, bearer) => {
    const body = JSON.stringify(generation())
    await expectRefusal(await client.fetch('POST', '/v1/generate', body, bearer), 'unauthorized')
    const inputs = JSON.stringify({ delta: null, input: ['x'] })
    await expectRefusal(await client.fetch('POST', '/v1/embeddings', inputs, bearer), 'unauthorized')
    await expectRefusal(await client.fetch('PUT', `/v1/adapters/${MISSING}`, 'x', bearer), 'unauthorized')
    await expectRefusal(await client.fetch('DELETE', `/v1/adapters/${MISSING}`, undefined, bearer), 'unauthorized')
    await expectRefusal(await client.fetch('GET', '/v1/residency', undefined, bearer), 'unauthorized')
    const looked = await client.fetch('HEAD', `/v1/adapters/${MISSING}`, undefined, bearer)
    expect(looked.status).toBe(ERROR_STATUS.unauthorized)
  })

  test.each(Work.options)('to %s opens the route of that work, and no other', async (work) => {
    const one = `/v1/adapters/${MISSING}`
    const routes: Record<Work, readonly [method: string, path: string, delta: string | null, body?: string]> = {
      generate: ['POST', '/v1/generate', null, JSON.stringify(generation())],
      embed: ['POST', '/v1/embeddings', null, JSON.stringify({ delta: null, input: ['x'] })],
      admit: ['PUT', one, MISSING, 'x'],
      evict: ['DELETE', one, MISSING],
      look: ['HEAD', one, MISSING],
      list: ['GET', '/v1/residency', null],
    }
    for (const [route, [method, path, delta, body]] of Object.entries(routes)) {
      const response = await client.fetch(method, path, body, { work, delta })
      await response.text()
      expect([route, response.status === ERROR_STATUS.forbidden]).toEqual([route, route !== work])
    }
  })

  test('is looked at before the body is read', async () => {
    await expectRefusal(await client.fetch('POST', '/v1/generate', 'no JSON', 'nonsense'), 'unauthorized')
  })

  test('that has expired or was signed with another secret is refused', async () => {
    const expired = await token({ expires_ms: Date.now() - 1 })
    const foreign = await token({}, 'another secret, as long as the right one')
    for (const bearer of [expired, foreign]) {
      const body = JSON.stringify(generation())
      await expectRefusal(await client.fetch('POST', '/v1/generate', body, bearer), 'unauthorized')
    }
  })

  test('opens nothing where the request names another base than the one that is served', async () => {
    const ask = async (base: string) => {
      const headers = { authorization: `Bearer ${await token()}`, 'x-polylora-base': base }
      return fetch(`${client.url}/v1/generate`, { method: 'POST', headers, body: JSON.stringify(generation()) })
    }
    const { message } = await expectRefusal(await ask(MISSING), 'wrong_base')
    expect(message).toContain(engine.info.base.fingerprint)
    const answer = await ask(engine.info.base.fingerprint)
    expect((await eventsOf(answer)).at(-1)).toMatchObject({ event: 'done' })
  })

  test('for another delta, or for the base, opens nothing else', async () => {
    await expectRefusal(await client.generate({ delta: delta.digest }, { delta: null }), 'forbidden')
    await expectRefusal(await client.generate({}, { delta: delta.digest }), 'forbidden')
    const inputs = JSON.stringify({ delta: delta.digest, input: ['x'] })
    await expectRefusal(await client.fetch('POST', '/v1/embeddings', inputs, { delta: null }), 'forbidden')
    const looked = await client.fetch('HEAD', `/v1/adapters/${delta.digest}`, undefined, { delta: null })
    expect(looked.status).toBe(ERROR_STATUS.forbidden)
    await expectRefusal(await client.push(MISSING, delta.bytes, { delta: delta.digest }), 'forbidden')
    const evicting = client.fetch('DELETE', `/v1/adapters/${delta.digest}`, undefined, { delta: MISSING })
    await expectRefusal(await evicting, 'forbidden')
    expect((await engine.residency()).map(({ digest }) => digest)).toEqual([delta.digest])
  })

  test('limits how many tokens are generated, whatever the request wants', async () => {
    const limits = { max_tokens: 3, max_delta_bytes: 0 }
    const events = await eventsOf(await client.generate({}, { limits }))
    expect(events.at(-1)).toMatchObject({ usage: { completion_tokens: 3 } })
    await expectRefusal(await client.generate({}, { limits: { ...limits, max_tokens: 0 } }), 'forbidden')
  })

  test('limits how large a delta may be', async () => {
    const limits = { max_tokens: 0, max_delta_bytes: delta.bytes.length - 1 }
    await expectRefusal(await client.push(delta.digest, delta.bytes, { limits }), 'too_large')
  })
})

describe('a delta', () => {
  test('has as long to arrive as the edge takes to send the largest at 1 MB/s, where Node gives five minutes', async () => {
    const { server } = await serve(engine)
    expect(server.http.requestTimeout).toBeGreaterThan(120_000 + MAX_DELTA_BYTES / 1000)
  })

  test('that is not here is asked for at once, and works when it has come', async () => {
    const other = await encodedRandomDelta(engine.info.base, { seed: 2, rank: 2 })
    const refused = await expectRefusal(await client.generate({ delta: other.digest }), 'adapter_missing')
    expect(refused.digest).toBe(other.digest)
    expect((await client.push(other.digest, other.bytes)).status).toBe(201)
    expect((await client.push(other.digest, other.bytes)).status).toBe(201)
    expect((await eventsOf(await client.generate({ delta: other.digest }))).at(-1)?.event).toBe('done')
    const evicted = await client.fetch('DELETE', `/v1/adapters/${other.digest}`, undefined, { delta: other.digest })
    expect(evicted.status).toBe(200)
    await expectRefusal(await client.generate({ delta: other.digest }), 'adapter_missing')
  })

  test('that never comes leaves nothing behind, however often it is asked for', async () => {
    const before = await engine.stats()
    const refused = await Promise.all(Array.from({ length: 30 }, () => client.generate({ delta: MISSING })))
    for (const response of refused) await expectRefusal(response, 'adapter_missing')
    expect(await engine.stats()).toEqual(before)
  })

  test.each<[string, ErrorCode, (bytes: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer>]>([
    ['holds a value that is no number', 'invalid_delta', (bytes) => withValue(bytes, Number.NaN)],
    ['holds an infinite value', 'invalid_delta', (bytes) => withValue(bytes, Number.NEGATIVE_INFINITY)],
    ['is cut short', 'invalid_delta', (bytes) => bytes.slice(0, bytes.length / 2)],
    ['is empty', 'invalid_delta', () => new Uint8Array()],
    ['is longer than it says', 'invalid_delta', (bytes) => new Uint8Array([...bytes, 0, 0, 0, 0])],
    ['has a header of nonsense', 'invalid_delta', (bytes) => bytes.map((byte, i) => (i > 8 && i < 200 ? 0x7b : byte))],
  ])('that %s is refused and not kept', async (_, code, damage) => {
    const bytes = damage((await encodedRandomDelta(engine.info.base, { seed: 3, rank: 2 })).bytes)
    const digest = await digestOf(bytes)
    await expectRefusal(await client.push(digest, bytes), code)
    await expectRefusal(await client.generate({ delta: digest }), 'adapter_missing')
  })

  test('with the shapes of another model, or for another model, is refused', async () => {
    const { base } = engine.info
    const wide = { ...base, intermediate_size: 128 }
    const shaped = await encodedRandomDelta(wide, { seed: 3, rank: 2 })
    const { message } = await expectRefusal(await client.push(shaped.digest, shaped.bytes), 'invalid_delta')
    expect(message).toContain('[64, 128]')
    const foreign = await encodedRandomDelta({ ...base, fingerprint: MISSING }, { seed: 3, rank: 2 })
    await expectRefusal(await client.push(foreign.digest, foreign.bytes), 'invalid_delta')
  })

  test('with another digest than it was sent under is refused', async () => {
    const { message } = await expectRefusal(await client.push(MISSING, delta.bytes), 'digest_mismatch')
    expect(message).toContain(delta.digest)
  })

  test('larger than this backend takes is refused, without being read to its end', async () => {
    await expectRefusal(await client.push(MISSING, new Uint8Array(20_000_000)), 'too_large')
  })

  test('is told by HEAD to be here or not, to who may use it', async () => {
    const ask = (digest: string, token: { delta: string }) =>
      client.fetch('HEAD', `/v1/adapters/${digest}`, undefined, token)
    expect((await ask(delta.digest, { delta: delta.digest })).status).toBe(200)
    expect((await ask(MISSING, { delta: MISSING })).status).toBe(404)
    expect((await ask(delta.digest, { delta: MISSING })).status).toBe(403)
  })

  test('that comes while as many bytes as memory allows are on their way is refused for the moment', async () => {
    const half = delta.bytes.subarray(0, delta.bytes.length / 2)
    // Without a length each may become as long as a delta can be.
    const others = [`sha256:${'1'.repeat(64)}`, delta.digest]
    const slow = await Promise.all(
      others.map((digest) => client.open('PUT', `/v1/adapters/${digest}`, { delta: digest })),
    )
    for (const sent of slow) sent.write(half)
    let refused = await client.push(MISSING, half)
    while (refused.status === ERROR_STATUS.digest_mismatch) refused = await client.push(MISSING, half)
    expect(refused.headers.get('retry-after')).toBe('1')
    await expectRefusal(refused, 'overloaded')
    slow[0]!.destroy()
    while ((await client.push(MISSING, half)).status === ERROR_STATUS.overloaded) {}
    const response = responseTo(slow[1]!)
    slow[1]!.end(delta.bytes.subarray(half.length))
    expect((await response).statusCode).toBe(201)
  })

  test('that many bring at once is taken in once, whatever they would be in all', async () => {
    const other = await encodedRandomDelta(engine.info.base, { seed: 5, rank: 4 })
    let taken = 0
    const counting = standIn({
      admit: (...given) => {
        taken++
        return engine.admit(...given)
      },
    })
    const { client: own, server } = await serve(counting)
    /** Without a length, two of these are all that may be on their way. */
    const open = async () => {
      const arrived = once(server.http, 'request')
      const sent = await own.open('PUT', `/v1/adapters/${other.digest}`, { delta: other.digest })
      sent.write(other.bytes.subarray(0, 1000))
      await arrived
      return sent
    }
    const first = await open()
    const [waiting, responses]: [ClientRequest[], Promise<IncomingMessage>[]] = [[], []]
    for (let i = 0; i < 7; i++) {
      waiting.push(await open())
      responses.push(responseTo(waiting.at(-1)!))
    }
    // It breaks off, and the next one goes on.
    first.destroy()
    await expect.poll(() => taken).toBe(2)
    for (const one of waiting) one.end(other.bytes.subarray(1000))
    for (const response of await Promise.all(responses)) expect(response.statusCode).toBe(201)
    expect(taken).toBe(2)
    await engine.evict(other.digest)
  })

  test('whose sender goes away half-way leaves nothing behind and disturbs nobody', async () => {
    const before = await engine.residency()
    const other = await encodedRandomDelta(engine.info.base, { seed: 4, rank: 4 })
    const sent = await client.open('PUT', `/v1/adapters/${other.digest}`, { delta: other.digest })
    sent.write(other.bytes.subarray(0, other.bytes.length / 2))
    expect((await eventsOf(await client.generate({}))).at(-1)?.event).toBe('done')
    const closed = new Promise((resolve) => sent.once('close', resolve))
    sent.destroy()
    await closed
    await expectRefusal(await client.generate({ delta: other.digest }), 'adapter_missing')
    expect(await engine.residency()).toEqual(before)
  })
})

describe('a client', () => {
  const long = { sampling: { max_tokens: 400, min_tokens: 400 } }

  test('that disconnects frees its row, and the others do not notice', async () => {
    const wanted = textOf(await eventsOf(await client.generate({ delta: delta.digest, ...long })))
    const sent = await client.open('POST', '/v1/generate')
    sent.end(JSON.stringify(generation(long)))
    const leaving = await responseTo(sent)
    const staying = client.generate({ delta: delta.digest, ...long })
    await once(leaving, 'data')
    sent.destroy()
    expect(textOf(await eventsOf(await staying))).toBe(wanted)
  })

  test('that reads slowly, or not at all, slows nobody else down', async () => {
    const sent = await client.open('POST', '/v1/generate')
    sent.end(JSON.stringify(generation({ n: 2, sampling: { ...long.sampling, logprobs: 20 } })))
    const unread = await responseTo(sent)
    expect((await eventsOf(await client.generate({}))).at(-1)?.event).toBe('done')
    // Its answer is complete whenever it is read.
    let text = ''
    for await (const piece of unread) text += piece
    expect(JSON.parse(text.trim().split('\n').at(-1)!)).toMatchObject({
      event: 'done',
      usage: { completion_tokens: 800 },
    })
  })

  test('that stops reading is cut off, whatever it was sent, and nothing is held for it', async () => {
    const much = 'x'.repeat(2 ** 20)
    let isGenerating = true
    const talkative = standIn({
      async *generate(_, { signal }): AsyncGenerator<EngineEvent> {
        yield { event: 'started', promptTokens: 1, tier: null }
        while (!signal.aborted) yield { ...TEXT, text: much }
        isGenerating = false
      },
      residency: async () => Array.from({ length: 32 }, () => ({ digest: much, tier: 'disk' })),
    })
    const { client: other, server } = await serve(talkative, { maxUnreadMs: 50 })
    const closed: Promise<unknown>[] = []
    server.http.on('request', (_, response) => closed.push(once(response, 'close')))
    const endless = await other.open('POST', '/v1/generate')
    endless.end(JSON.stringify(generation()))
    const whole = await other.open('GET', '/v1/residency')
    whole.end()
    await Promise.all([endless, whole].map(responseTo))
    await Promise.all(closed)
    await expect.poll(() => isGenerating).toBe(false)
  })

  test('that waits for longer than one may stop reading is answered', async () => {
    const quiet = standIn({
      async *generate(request, context): AsyncGenerator<EngineEvent> {
        const pause = () => Array.fromAsync(engine.generate(request, context))
        yield (await pause())[0]!
        // More than is written without waiting.
        yield { ...TEXT, text: 'x'.repeat(100_000) }
        yield (await pause()).at(-1)!
      },
    })
    const { client: other } = await serve(quiet, { maxUnreadMs: 10 })
    const events = await eventsOf(await other.generate(long))
    expect(events.map(({ event }) => event)).toEqual(['started', 'text', 'done'])
  })

  test('is told by empty lines that its answer goes on while nothing of it comes, unless the engine hangs', async () => {
    const maxQuietMs = 20
    const goOn = Promise.withResolvers<void>()
    onTestFinished(() => goOn.resolve())
    let hangs = false
    let asked = 0
    const stalled = standIn({
      async *generate(): AsyncGenerator<EngineEvent> {
        yield { event: 'started', promptTokens: 1, tier: null }
        yield { ...TEXT, text: 'a' }
        await goOn.promise
        yield { ...TEXT, text: 'b' }
        yield { event: 'done', usage: { prompt_tokens: 1, cached_tokens: 0, completion_tokens: 2 }, batch: NO_BATCH }
      },
      async ready() {
        asked++
        if (hangs) await goOn.promise
      },
    })
    const { client: other } = await serve(stalled, { maxQuietMs })
    const sent = await other.open('POST', '/v1/generate')
    sent.end(JSON.stringify(generation()))
    const response = await responseTo(sent)
    let text = ''
    response.setEncoding('utf8').on('data', (piece) => {
      text += piece
    })
    await expect.poll(() => text).toMatch(/"a".*\n\n\n\n/)
    hangs = true
    const before = asked
    await expect.poll(() => asked).toBeGreaterThan(before)
    const length = text.length
    await expect.poll(() => asked).toBeGreaterThan(before + 3)
    expect(text).toHaveLength(length)
    goOn.resolve()
    await once(response, 'end')
    const events = text
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line).event)
    expect(events).toEqual(['started', 'text', 'text', 'done'])
  })

  test('that sends its request a byte at a time is answered', async () => {
    const sent = await client.open('POST', '/v1/generate')
    for (const byte of Buffer.from(JSON.stringify(generation({ prompt: 'Grüße' })))) sent.write(Uint8Array.of(byte))
    sent.end()
    const response = await responseTo(sent)
    expect(response.statusCode).toBe(200)
    await response.resume().toArray()
  })
})

describe('a large request', () => {
  test('is refused for the moment while as many bytes as memory allows are on their way, once it has been read', async () => {
    const ask = () => client.generate({ prompt: 'x'.repeat(1_000_000) })
    const slow: ClientRequest[] = []
    let refused: Response
    do {
      // Without a length it may become as long as a request can be.
      const sent = await client.open('POST', '/v1/generate')
      sent.write('{')
      slow.push(sent)
      refused = await ask()
    } while (refused.status === ERROR_STATUS.context_length_exceeded)
    expect(slow.length).toBeGreaterThanOrEqual(32)
    expect(refused.headers.get('retry-after')).toBe('1')
    expect(refused.headers.get('connection')).toBe('keep-alive')
    await expectRefusal(refused, 'overloaded')
    expect((await eventsOf(await client.generate({}))).at(-1)?.event).toBe('done')
    for (const sent of slow) sent.destroy()
    while ((await ask()).status === ERROR_STATUS.overloaded) {}
  })
})

describe('while long answers are made', () => {
  let busy: Engine
  let ask: () => Promise<Response>
  let open: () => Promise<ClientRequest>

  beforeAll(async () => {
    busy = await engines.start({ maxBatch: ROWS, maxQueue: QUEUE, contextTokens: 2 * LONG_TOKENS }, LONG_MODEL)
    const { client } = await serve(busy)
    ask = () => client.generate(LONG, MAY_BE_LONG)
    open = async () => {
      const sent = await client.open('POST', '/v1/generate', MAY_BE_LONG)
      return sent.end(JSON.stringify(generation(LONG)))
    }
  })
  afterEach(() => idle(busy))

  /** The last of its many events. */
  const lastOf = async (response: Response): Promise<string> =>
    JSON.parse((await response.text()).trim().split('\n').at(-1)!).event

  test('their beginning has come', async () => {
    const response = await responseTo(await open())
    await once(response, 'data')
    expect((await busy.stats()).running).toBe(1)
    response.destroy()
  })

  test('a client that disconnects while it waits is taken out of the queue', async () => {
    const before = (await busy.stats()).generatedTokens
    const staying = Array.from({ length: ROWS + QUEUE - 1 }, ask)
    await Promise.any(staying)
    const leaving = await open()
    await expect.poll(async () => (await busy.stats()).waiting, { interval: 5 }).toBe(QUEUE)
    leaving.destroy()
    for (const answer of staying) expect(await lastOf(await answer)).toBe('done')
    await idle(busy)
    expect((await busy.stats()).generatedTokens - before).toBe(staying.length * LONG_TOKENS)
  })

  test('whoever asks when the queue is full is told to come back, before any work', async () => {
    const all = await Promise.all(Array.from({ length: ROWS + QUEUE + 4 }, ask))
    const refused = all.filter(({ status }) => status !== 200)
    expect(refused.length).toBeGreaterThan(0)
    for (const response of refused) {
      expect(response.headers.get('retry-after')).toBe('1')
      await expectRefusal(response, 'overloaded')
    }
    for (const response of all.filter(({ status }) => status === 200)) {
      expect(await lastOf(response)).toBe('done')
    }
  })
})

test('a connection is kept for its next request longer than whoever stands before the backend keeps it', async () => {
  const response = await fetch(`${client.url}/healthz`)
  await response.body?.cancel()
  expect(response.headers.get('keep-alive')).toBe('timeout=75')
})

describe('the operator', () => {
  test('sees what is served, without a token', async () => {
    const get = (path: string) => fetch(client.url + path)
    expect(BackendInfo.parse(await (await get('/v1/base')).json())).toEqual(engine.info)
    expect(await (await get('/healthz')).json()).toEqual({ status: 'ok' })
    expect(await (await get('/readyz?verbose=1')).json()).toEqual({ status: 'ready' })
  })

  test('sees where deltas are, with a token for the base', async () => {
    const response = await client.fetch('GET', '/v1/residency')
    const { adapters } = (await response.json()) as { adapters: { digest: string }[] }
    expect(adapters.map(({ digest }) => digest)).toEqual([delta.digest])
    await expectRefusal(await client.fetch('GET', '/v1/residency', undefined, { delta: delta.digest }), 'forbidden')
  })

  test('counts requests and tokens by adapter', async () => {
    const value = async (name: string) => {
      const text = await (await fetch(`${client.url}/metrics`)).text()
      const line = text.split('\n').find((one) => one.startsWith(`${name} `) || one.startsWith(`${name}{`))
      return Number(line?.split(' ').at(-1))
    }
    const label = delta.digest.slice(7, 19)
    const name = `polylora_generation_tokens_total{adapter="${label}"}`
    await eventsOf(await client.generate({ delta: delta.digest }))
    const before = await value(name)
    await eventsOf(await client.generate({ delta: delta.digest }))
    expect(await value(name)).toBe(before + 8)
    expect(await value('polylora_batch_rows')).toBe(ROWS)
    expect(await value('polylora_sequences_running')).toBe(0)
    expect(await value('polylora_kv_cache_usage_ratio')).toBe(0)
  })

  test('counts requests whose client left before anything was sent by a status of their own', async () => {
    let waiting = 0
    const untilAborted = async (signal: AbortSignal) => {
      waiting++
      await once(signal, 'abort')
    }
    const slow = standIn({
      async *generate(_, { signal }): AsyncGenerator<EngineEvent> {
        await untilAborted(signal)
        yield* []
      },
      async embed(_, { signal }) {
        await untilAborted(signal)
        return { embeddings: [], prompt_tokens: 0 }
      },
    })
    const { client: other, server } = await serve(slow)
    const generating = await other.open('POST', '/v1/generate')
    generating.end(JSON.stringify(generation()))
    const embedding = await other.open('POST', '/v1/embeddings')
    embedding.end(JSON.stringify({ delta: null, input: ['x'] }))
    await expect.poll(() => waiting).toBe(2)
    const arriving = await other.open('POST', '/v1/embeddings')
    const arrived = once(server.http, 'request')
    arriving.write('{')
    await arrived
    for (const sent of [generating, embedding, arriving]) sent.destroy()
    const left = (route: string) => other.figure(`polylora_requests_total{route="${route}",status="499"}`)
    await expect.poll(() => left('/v1/generate')).toBe(1)
    await expect.poll(() => left('/v1/embeddings')).toBe(2)
  })

  test('counts answers that failed after they had begun by what failed them, and is told the reason where that is the backend', async () => {
    const failures = [
      new BackendError('unavailable', 'The server was lost: ask again.'),
      new BackendError('internal', 'The graph broke'),
      new Error('A fault of ours'),
    ]
    const failing = standIn({
      async *generate(): AsyncGenerator<EngineEvent> {
        yield { event: 'started', promptTokens: 1, tier: null }
        throw failures.shift()
      },
    })
    const { client: other } = await serve(failing)
    const said = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
    onTestFinished(() => said.mockRestore())
    const responses = [await other.generate({}), await other.generate({}), await other.generate({})]
    const ends = await Promise.all(responses.map(async (response) => (await eventsOf(response)).at(-1)))
    expect(ends.map((end) => end?.event === 'error' && end.error)).toEqual(['unavailable', 'internal', 'internal'])
    const failed = (code: string) => other.figure(`polylora_generation_errors_total{code="${code}"}`)
    expect([await failed('unavailable'), await failed('internal')]).toEqual([1, 2])
    const lines = said.mock.calls.map(([line]) => JSON.parse(String(line)))
    const reasons = ['The graph broke', expect.stringContaining('A fault of ours')]
    const ids = responses.slice(1).map(({ headers }) => headers.get('x-request-id'))
    expect(lines).toMatchObject(reasons.map((reason, i) => ({ event: 'request_failed', reason, request_id: ids[i] })))
    for (const end of ends) expect(JSON.stringify(end)).not.toMatch(/graph broke|fault of ours/)
  })

  test('counts what was generated for a client that left, too', async () => {
    const tokens = async () => {
      const text = await (await fetch(`${client.url}/metrics`)).text()
      const value = (name: string) => Number(new RegExp(`^${name}{adapter="base"} (\\d+)$`, 'm').exec(text)?.[1] ?? 0)
      return [value('polylora_prompt_tokens_total'), value('polylora_generation_tokens_total')] as const
    }
    const [prompt, generated] = await tokens()
    const sent = await client.open('POST', '/v1/generate')
    sent.end(JSON.stringify(generation({ sampling: { max_tokens: 300, min_tokens: 300 } })))
    const response = await responseTo(sent)
    for await (const piece of response) if (String(piece).includes('"text"')) break
    sent.destroy()
    const [promptAfter, generatedAfter] = await tokens()
    expect(promptAfter).toBeGreaterThan(prompt)
    expect(generatedAfter).toBeGreaterThan(generated)
  })

  test('counts what was generated for a client that left without reading it', async () => {
    const sampled = async () => {
      const text = await (await fetch(`${client.url}/metrics`)).text()
      return Number(/^polylora_sampled_tokens_total (\d+)$/m.exec(text)?.[1])
    }
    await idle(engine)
    const before = await sampled()
    const sent = await client.open('POST', '/v1/generate')
    const sampling = { max_tokens: 300, min_tokens: 300, logprobs: 20 }
    sent.end(JSON.stringify(generation({ n: 2, sampling })))
    await responseTo(sent)
    await idle(engine)
    sent.destroy()
    expect(await sampled()).toBe(before + 600)
  })
})

describe('a backend that stops', () => {
  test('finishes what runs, takes nothing new, and then is gone', async () => {
    const own = await engines.start()
    const { client: other, server } = await serve(own)
    const sent = await other.open('POST', '/v1/generate')
    sent.end(JSON.stringify(generation({ sampling: { max_tokens: 300, min_tokens: 300 } })))
    const response = await responseTo(sent)
    const late = await other.open('POST', '/v1/generate')
    late.flushHeaders()
    await once(late, 'socket')
    const drained = server.drain()
    let text = ''
    for await (const piece of response) text += piece
    expect(JSON.parse(text.trim().split('\n').at(-1)!)).toMatchObject({ event: 'done' })
    late.destroy()
    await drained
    await expect(fetch(`${other.url}/healthz`)).rejects.toThrow('fetch failed')
  })

  test('sends what it has answered to whoever reads slowly', async () => {
    const much = 'x'.repeat(2 ** 20)
    const full = standIn({ residency: async () => Array.from({ length: 32 }, () => ({ digest: much, tier: 'disk' })) })
    const { client: other, server } = await serve(full)
    const answered = once(server.http, 'request').then(([, response]) => once(response, 'finish'))
    const asked = await other.open('GET', '/v1/residency')
    asked.end()
    const response = await responseTo(asked)
    // All of it is written, and most of it waits for the client.
    await expect.poll(() => response.readableLength).toBeGreaterThan(0)
    const drained = server.drain()
    let length = 0
    for await (const piece of response) length += piece.length
    expect(length).toBeGreaterThan(32 * 2 ** 20)
    await answered
    await drained
  })

  test('waits for no connection on which no request has come', async () => {
    const { client: other, server } = await serve(await engines.start())
    const { hostname, port } = new URL(other.url)
    for (const begun of ['', 'POST /v1/gen']) {
      const accepted = once(server.http, 'connection')
      connect(Number(port), hostname)
        .on('error', () => {})
        .write(begun)
      await accepted
    }
    await server.drain()
    await expect(fetch(`${other.url}/healthz`)).rejects.toThrow('fetch failed')
  })

  test('whose engine fails says so in the running stream and is not ready', async () => {
    const own = await engines.start({ contextTokens: 2 * LONG_TOKENS }, LONG_MODEL)
    const { client: other } = await serve(own)
    const running = await other.generate(LONG, MAY_BE_LONG)
    await own.close()
    const last = (await eventsOf(running)).at(-1)
    expect(last).toMatchObject({ event: 'error', error: 'unavailable' })
    if (last?.event === 'error') expectOneSentence(last.message)
    await expectRefusal(await fetch(`${other.url}/readyz`), 'unavailable')
    const refused = await other.generate({})
    expect(refused.headers.get('retry-after')).toBe('1')
    await expectRefusal(refused, 'unavailable')
    // A liveness probe starts the process again.
    await expectRefusal(await fetch(`${other.url}/healthz`), 'unavailable')
  })
})

/** The canonical file with its last value replaced. */
function withValue(bytes: Uint8Array<ArrayBuffer>, value: number): Uint8Array<ArrayBuffer> {
  new DataView(bytes.buffer).setFloat32(bytes.length - 4, value, true)
  return bytes
}
