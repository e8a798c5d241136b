import { afterEach, describe, expect, onTestFinished, test } from 'vitest'
import { serverSentData } from '../../functions/client/server-sent-data.ts'
import { BackendInfo } from '../../gpu-backend/protocol.ts'
import { ADMIN_KEY, type EdgeHarness, startEdge, waitFor } from '../support/edge-harness.ts'
import { edgeOnBackends } from '../support/edge-on-backends.ts'
import { BACKEND_SECRET, BASE_INFO, ProtocolBackend } from '../support/protocol-backend.ts'

const OTHER_BASE = `sha256:${'d'.repeat(64)}`

const { backends, edge } = await edgeOnBackends(2)
await edge.addTenant('acme', 'key-acme')

afterEach(() => {
  for (const backend of backends) backend.reset()
})

const ask = (extra: object = {}, key = 'key-acme', headers: Record<string, string> = {}, asked = edge) =>
  asked.call(key, '/v1/chat/completions', {
    method: 'POST',
    headers,
    body: JSON.stringify({ model: 'tiny-base', messages: [{ role: 'user', content: 'hi' }], ...extra }),
  })

async function expectAnswers(asked: EdgeHarness, times: number): Promise<void> {
  for (let i = 0; i < times; i++) {
    const response = await ask({}, 'key-acme', {}, asked)
    expect(response.status).toBe(200)
    await response.text()
  }
}

const recordOf = (response: Response) =>
  waitFor(() =>
    edge.db
      .prepare('SELECT * FROM usage WHERE request_id = ?')
      .bind(response.headers.get('x-request-id'))
      .first<Record<string, unknown>>(),
  )

describe('before the first token', () => {
  test.each(['unavailable', 'overloaded', 'unauthorized'] as const)(
    'a backend whose refusal is %s is passed over for the other',
    async (code) => {
      for (const [sick, well] of [backends, backends.toReversed()] as [ProtocolBackend, ProtocolBackend][]) {
        sick.behaviour.refuse = code
        for (let i = 0; i < 4; i++) {
          const response = await ask()
          expect(response.status).toBe(200)
          expect(await recordOf(response)).toMatchObject({ backend: well.url, outcome: 'complete' })
        }
        sick.reset()
      }
    },
  )

  test('any number of backends with another secret are passed over', async () => {
    const many = await Promise.all(Array.from({ length: 6 }, () => new ProtocolBackend().listen()))
    const six = await startEdge(many.map(({ url }) => url))
    await six.addTenant('acme', 'key-acme')
    for (const { behaviour } of many.slice(1)) behaviour.refuse = 'unauthorized'
    await expectAnswers(six, 12)
    await six.close()
    for (const backend of many) await backend.close()
  })

  test('a backend that cannot be reached is passed over', async () => {
    const alone = await new ProtocolBackend().listen()
    const gone = await new ProtocolBackend().listen()
    const two = await startEdge(`${alone.url},${gone.url}`)
    await gone.close()
    await two.addTenant('acme', 'key-acme')
    await expectAnswers(two, 6)
    await alone.close()
    const response = await ask({}, 'key-acme', {}, two)
    expect(response.status).toBe(503)
    expect(response.headers.get('retry-after')).toBe('1')
    await two.close()
  })

  test('an adapter is pushed to whichever backend takes the request', async () => {
    const digest = await edge.publish('key-acme', 'acme/wanders', 7)
    for (const [sick, well] of [backends, backends.toReversed()] as [ProtocolBackend, ProtocolBackend][]) {
      sick.behaviour.refuse = 'unavailable'
      const response = await ask({ model: 'acme/wanders' })
      expect(response.headers.get('x-polylora-adapter')).toBe(digest)
      expect(well.deltas.has(digest)).toBe(true)
      sick.reset()
    }
  })

  test('a text that is too long is named as the request names it', async () => {
    for (const backend of backends) backend.behaviour.refuse = 'context_length_exceeded'
    const texts = { prompt: '/v1/completions', messages: '/v1/chat/completions', input: '/v1/embeddings' }
    for (const [param, path] of Object.entries(texts)) {
      const text = param === 'messages' ? [{ role: 'user', content: 'hi' }] : 'hi'
      const body = JSON.stringify({ model: 'tiny-base', [param]: text })
      const response = await edge.call('key-acme', path, { method: 'POST', body })
      expect(await response.json()).toMatchObject({ error: { code: 'context_length_exceeded', param } })
    }
  })

  test.each([
    ['response_format', 'response_format'],
    // As a backend of an older version says it.
    [undefined, null],
  ])('a refusal of the parameter %s is passed on with its name', async (param, named) => {
    for (const backend of backends) Object.assign(backend.behaviour, { refuse: 'bad_request', param })
    for (const stream of [false, true]) {
      const response = await ask({ stream })
      expect(response.status).toBe(400)
      const error = { type: 'invalid_request_error', code: 'invalid_value', param: named, message: 'scripted refusal' }
      expect(await response.json()).toEqual({ error })
    }
  })

  test.each([
    ['context_length_exceeded', 400, 'invalid_request_error'],
    ['too_large', 413, 'invalid_request_error'],
    ['overloaded', 429, 'rate_limit_error'],
    ['internal', 502, 'server_error'],
    ['unavailable', 503, 'server_error'],
    ['deadline_exceeded', 504, 'server_error'],
  ] as const)('where every backend says %s, the client is told %i and pays nothing', async (code, status, type) => {
    for (const backend of backends) backend.behaviour.refuse = code
    const response = await ask()
    expect(response.status).toBe(status)
    expect(await response.json()).toMatchObject({ error: { type, message: expect.stringMatching(/./) } })
    const id = response.headers.get('x-request-id')
    for (const backend of backends) backend.reset()
    await recordOf(await ask())
    expect(await edge.db.prepare('SELECT * FROM usage WHERE request_id = ?').bind(id).first()).toBeNull()
  })

  test('a refusal that another backend would share is not tried there', async () => {
    for (const backend of backends) backend.behaviour.refuse = 'context_length_exceeded'
    const before = backends.reduce((sum, backend) => sum + backend.asked, 0)
    expect((await ask()).status).toBe(400)
    expect(backends.reduce((sum, backend) => sum + backend.asked, 0)).toBe(before + 1)
  })
})

describe('backends of different bases', async () => {
  const { backends, edge } = await edgeOnBackends(2)
  await edge.addTenant('acme', 'key-acme')
  const digest = await edge.publish('key-acme', 'acme/moved', 11)

  const post = (route: string, body: object) =>
    edge.call('key-acme', `/v1/${route}`, { method: 'POST', body: JSON.stringify(body) })
  const complete = (model: string) => post('completions', { model, prompt: 'hi' })
  const servedBase = async () =>
    BackendInfo.parse(await (await edge.call('key-acme', '/v1/base')).json()).base.fingerprint

  test('answer for their own base alone, the base model by itself and adapters of it', async () => {
    for (const [other, same] of [backends, backends.toReversed()] as [ProtocolBackend, ProtocolBackend][]) {
      other.behaviour.base = OTHER_BASE
      same.behaviour.base = BASE_INFO.base.fingerprint
      for (let i = 0; i < 6; i++) {
        const base = await servedBase()
        expect(await (await complete('tiny-base')).json()).toMatchObject({ polylora: { base } })
        const adapted = await complete('acme/moved')
        expect(adapted.headers.get('x-polylora-adapter')).toBe(digest)
        expect(await adapted.json()).toMatchObject({ polylora: { base: BASE_INFO.base.fingerprint } })
        const embedded = await post('embeddings', { model: 'acme/moved', input: 'hi' })
        expect(embedded.status).toBe(200)
        expect(same.deltas.has(digest)).toBe(true)
      }
      expect(other.deltas.has(digest)).toBe(false)
      same.deltas.clear()
    }
  })

  test('refuse in a sentence what none of them serves, and an edge learns of a new base by one refusal', async () => {
    for (const { behaviour } of backends) behaviour.base = BASE_INFO.base.fingerprint
    await waitFor(async () => (await complete('tiny-base')).status === 200)
    for (const { behaviour } of backends) behaviour.base = OTHER_BASE
    const refused = await complete('acme/moved')
    expect(refused.status).toBe(503)
    expect(await refused.json()).toMatchObject({ error: { code: 'base_not_served', type: 'server_error' } })
    await complete('tiny-base')
    expect(await (await complete('tiny-base')).json()).toMatchObject({ polylora: { base: OTHER_BASE } })
  })
})

describe('after the first token', () => {
  test('a backend that dies is not replaced in secret: the client sees an error, and pays nothing', async () => {
    for (const backend of backends) backend.behaviour.cutAfter = 3
    const streamed = await ask({ stream: true })
    const text = await streamed.text()
    expect(text).toContain('"code":"generation_failed"')
    expect(text).not.toContain('[DONE]')
    expect(await recordOf(streamed)).toMatchObject({ outcome: 'failed', completion_tokens: 3, price_nano: 0 })
    const whole = await ask()
    expect(whole.status).toBe(502)
    expect(await recordOf(whole)).toMatchObject({ outcome: 'failed', completion_tokens: 3 })
  })

  test('a schema that turns out too ambiguous is the caller’s to mend, and costs what was read of a stream', async () => {
    const prices = { prompt_price_nano: 100, cached_price_nano: 10, completion_price_nano: 1000 }
    expect((await edge.admin('PATCH', '/tenants/acme', prices)).status).toBe(200)
    for (const backend of backends) Object.assign(backend.behaviour, { failAfter: 3, failCode: 'bad_request' })
    const whole = await ask()
    expect(whole.status).toBe(400)
    const error = { type: 'invalid_request_error', code: 'invalid_value', param: 'response_format' }
    expect(await whole.json()).toEqual({ error: { ...error, message: 'the engine fell over' } })
    expect(await recordOf(whole)).toMatchObject({ outcome: 'failed', price_nano: 0 })
    for (const headers of [{}, { 'idempotency-key': 'a' }]) {
      const streamed = await ask({ stream: true }, 'key-acme', headers)
      const read = await Array.fromAsync(serverSentData(streamed.body!))
      expect(read).toHaveLength(4)
      expect(read.at(-1)).toEqual({ error: { ...error, message: 'the engine fell over' } })
      const price = 5 * 100 + 2 * 10 + 3 * 1000
      expect(await recordOf(streamed)).toMatchObject({ outcome: 'cut', completion_tokens: 3, price_nano: price })
    }
  })

  test('what breaks off by its own fault before anything of it was sent costs nothing, streamed as well', async () => {
    const fault = { words: ['', '', '', 'never'], failAfter: 3, failCode: 'bad_request' }
    for (const backend of backends) Object.assign(backend.behaviour, fault)
    const streamed = await ask({ stream: true })
    expect(await Array.fromAsync(serverSentData(streamed.body!))).toHaveLength(1)
    expect(await recordOf(streamed)).toMatchObject({ outcome: 'failed', completion_tokens: 3, price_nano: 0 })
  })

  test('a reader that takes nothing until its backend gives up pays for what had come', async () => {
    const prices = { prompt_price_nano: 100, cached_price_nano: 10, completion_price_nano: 1000 }
    const patienceMs = 1_000
    const patient = await new ProtocolBackend().listen()
    const one = await startEdge(patient.url, {
      POLYLORA_BACKEND_SECRET: BACKEND_SECRET,
      POLYLORA_ADMIN_KEY: ADMIN_KEY,
      BACKEND_PATIENCE_MS: String(patienceMs),
    })
    onTestFinished(async () => {
      await one.close()
      await patient.close()
    })
    expect((await one.admin('POST', '/tenants', { id: 'slow', ...prices })).status).toBe(201)
    await one.addTenant('slow', 'key-slow')
    // More than all that lies between them takes.
    Object.assign(patient.behaviour, {
      words: Array.from({ length: 400 }, () => 'x'.repeat(100_000)),
      maxUnreadMs: 200,
    })
    const response = await ask({ stream: true }, 'key-slow', {}, one)
    await waitFor(async () => patient.generations.at(-1)?.closed)
    await new Promise((resolve) => setTimeout(resolve, patienceMs))
    expect(await response.text()).toContain('"code":"generation_failed"')
    const id = response.headers.get('x-request-id')
    const record = await waitFor(() =>
      one.db.prepare('SELECT * FROM usage WHERE request_id = ?').bind(id).first<Record<string, unknown>>(),
    )
    expect(record).toMatchObject({ outcome: 'cut' })
    expect(record.price_nano).toBeGreaterThan(1_000)
  })

  test('an adapter whose numbers overflow is said to be at fault, since trying again would not help', async () => {
    for (const backend of backends) Object.assign(backend.behaviour, { failAfter: 0, failCode: 'invalid_delta' })
    const whole = await ask()
    expect(whole.status).toBe(500)
    const error = { code: 'adapter_invalid', message: 'The adapter cannot be applied: the engine fell over' }
    expect(await whole.json()).toMatchObject({ error })
    expect(await recordOf(whole)).toMatchObject({ outcome: 'failed', price_nano: 0 })
  })

  test('a meter that restarts in the middle settles the request once', async () => {
    await edge.addTenant('restarting', 'key-restarting')
    const gate = Promise.withResolvers<void>()
    for (const backend of backends) {
      let words = 0
      backend.behaviour.pace = async () => {
        if (words++ === 2) await gate.promise
      }
    }
    const response = await ask({ stream: true }, 'key-restarting')
    await edge.evictMeter('restarting')
    gate.resolve()
    expect(await response.text()).toContain('[DONE]')
    expect(await recordOf(response)).toMatchObject({ outcome: 'complete', completion_tokens: 5 })
  })
})

test('a meter that cannot be reached is a 503, and nothing is generated', async () => {
  const unmetered = await startEdge(
    JSON.stringify(backends.map(({ url }) => url)),
    { POLYLORA_BACKEND_SECRET: BACKEND_SECRET, POLYLORA_ADMIN_KEY: ADMIN_KEY },
    { meter: 'MeterThatIsDown' },
  )
  try {
    await unmetered.addTenant('acme', 'key-acme')
    const before = backends.map(({ asked, embedded }) => asked + embedded)
    for (const [path, body] of [
      ['/v1/chat/completions', { model: 'tiny-base', messages: [{ role: 'user', content: 'hi' }] }],
      ['/v1/chat/completions', { model: 'tiny-base', messages: [{ role: 'user', content: 'hi' }], stream: true }],
      ['/v1/completions', { model: 'tiny-base', prompt: 'hi' }],
      ['/v1/embeddings', { model: 'tiny-base', input: 'hi' }],
    ] as const) {
      const response = await unmetered.call('key-acme', path, { method: 'POST', body: JSON.stringify(body) })
      expect(response.status).toBe(503)
      expect(response.headers.get('retry-after')).toBe('1')
      expect(await response.json()).toMatchObject({ error: { type: 'server_error', code: 'meter_unavailable' } })
    }
    expect(backends.map(({ asked, embedded }) => asked + embedded)).toEqual(before)
    for (const [key, method, path, body] of [
      ['key-acme', 'GET', '/v1/key', undefined],
      [ADMIN_KEY, 'GET', '/admin/v1/tenants/acme', undefined],
      [ADMIN_KEY, 'POST', '/admin/v1/tenants/acme/credits', { id: 'a', amount_nano: 1 }],
      [ADMIN_KEY, 'DELETE', '/admin/v1/tenants/acme', undefined],
    ] as const) {
      const response = await unmetered.call(key, path, { method, ...(body ? { body: JSON.stringify(body) } : {}) })
      expect([path, response.status]).toEqual([path, 503])
      expect(await response.json()).toMatchObject({ error: { code: 'meter_unavailable' } })
    }
  } finally {
    await unmetered.close()
  }
})

test('a request whose grant was lost on its way is given up: nothing is held for it, and its Idempotency-Key is free', async () => {
  const deaf = await startEdge(
    backends[0]!.url,
    { POLYLORA_BACKEND_SECRET: BACKEND_SECRET, POLYLORA_ADMIN_KEY: ADMIN_KEY },
    { meter: 'MeterWithoutAnswers' },
  )
  try {
    await deaf.admin('POST', '/tenants', { id: 'payer', billing: 'prepaid', completion_price_nano: 1 })
    await deaf.admin('POST', '/tenants/payer/credits', { id: 'first', amount_nano: 1_000_000 })
    await deaf.addTenant('payer', 'key-payer')
    const body = JSON.stringify({ model: 'tiny-base', messages: [{ role: 'user', content: 'hi' }], max_tokens: 10 })
    const ask = () =>
      deaf.call('key-payer', '/v1/chat/completions', { method: 'POST', body, headers: { 'idempotency-key': 'order' } })
    for (let time = 0; time < 2; time++) {
      expect(await (await ask()).json()).toMatchObject({ error: { code: 'meter_unavailable' } })
      await waitFor(async () => (await deaf.admin('GET', '/tenants/payer')).body.held_nano === 0)
    }
  } finally {
    await deaf.close()
  }
})

test.each([
  { event: 'generation_failed', behaviour: { failAfter: 2 } },
  { event: 'delta_refused', behaviour: { refuse: 'invalid_delta' } },
  { event: 'backend_refused', behaviour: { refuse: 'internal' } },
  { event: 'backend_refused', behaviour: { refuse: 'unavailable' } },
  { event: 'backend_refused', behaviour: { refuse: 'unauthorized' } },
] as const)(
  'the log has $event under the request that met it, with its backend: $behaviour',
  async ({ event, behaviour }) => {
    for (const backend of backends) Object.assign(backend.behaviour, behaviour)
    const response = await ask()
    expect(response.status).toBeGreaterThanOrEqual(500)
    const id = response.headers.get('x-request-id')
    const line = await waitFor(async () => edge.logs.find((said) => said.includes(id!) && said.includes(`"${event}"`)))
    expect(backends.map(({ url }) => url)).toContain(JSON.parse(line).url)
  },
)

describe('the registry', () => {
  test('that is down is an error without details, and nobody gets in', async () => {
    await edge.db.exec('ALTER TABLE api_keys RENAME TO hidden')
    await edge.addTenant('late', 'key-late').catch(() => undefined)
    const response = await ask({}, 'never-seen-key')
    await edge.db.exec('ALTER TABLE hidden RENAME TO api_keys')
    expect(response.status).toBe(503)
    expect(response.headers.get('retry-after')).toBe('1')
    const body = await response.text()
    expect(JSON.parse(body)).toMatchObject({ error: { type: 'server_error', code: 'registry_unavailable' } })
    expect(body).not.toMatch(/D1|SQL|api_keys/)
  })

  test('that cannot take usage records gets them later, each once', async () => {
    await edge.db.exec('ALTER TABLE usage RENAME TO hidden')
    const responses = await Promise.all([ask(), ask(), ask()])
    await waitFor(async () => edge.logs.some((line) => line.includes('usage_flush_failed')))
    await edge.db.exec('ALTER TABLE hidden RENAME TO usage')
    for (const response of responses) expect(await recordOf(response)).toMatchObject({ outcome: 'complete' })
  })
})
