// What was on its way when it was no longer wanted: it is refused, or counts for nobody, and leaves nothing behind.
import { createServer, request as httpRequest } from 'node:http'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ADMIN_KEY, digestOf, type EdgeHarness, makeDelta, startEdge, waitFor } from '../support/edge-harness.ts'
import { edgeOnStore } from '../support/edge-on-store.ts'
import { freeName } from '../support/free-name.ts'
import { KEPT_CONNECTIONS } from '../support/kept-connections.ts'
import { closeServer, listenOnLoopback } from '../support/loopback.ts'
import { ProtocolBackend } from '../support/protocol-backend.ts'
import { slowPut } from '../support/slow-put.ts'
import { slowRequest } from '../support/slow-request.ts'

const DAY_MS = 86_400_000

describe.each(['R2', 'S3'] as const)('with %s', (kind) => {
  const setup = edgeOnStore(kind, async (edge) => {
    for (const tenant of ['parts', 'given-up', 'gap', 'again', 'staged', 'kept']) await edge.addTenant(tenant, tenant)
  })
  let edge: EdgeHarness
  beforeAll(() => {
    edge = setup.edge
  })

  const stored = async (part: string) => (await setup.storedKeys()).filter((key) => key.includes(part))
  const uploadOf = (tenant: string, bytes: Uint8Array) => `/v1/adapters/${tenant}/bot/uploads/${digestOf(bytes)}`
  const isNoted = (tenant: string) => edge.db.prepare('SELECT 1 FROM uploads WHERE tenant = ?').bind(tenant).first()
  const status = async (method: string, tenant: string, path: string) => {
    const response = await edge.call(tenant, path, { method })
    await response.arrayBuffer()
    return response.status
  }

  test('a part of a tenant that is deleted meanwhile', async () => {
    const bytes = makeDelta(101)
    const part = slowPut(edge, 'parts', `${uploadOf('parts', bytes)}/1`, bytes)
    await waitFor(() => isNoted('parts'))
    expect((await edge.admin('DELETE', '/tenants/parts')).status).toBe(200)
    expect(await part.finish()).toBe(409)
    expect(await stored('/parts/')).toEqual([])
  })

  test('a part of an upload that is given up meanwhile is swept up later', async () => {
    const bytes = makeDelta(102)
    const part = slowPut(edge, 'given-up', `${uploadOf('given-up', bytes)}/1`, bytes)
    await waitFor(() => isNoted('given-up'))
    expect(await status('DELETE', 'given-up', uploadOf('given-up', bytes))).toBe(204)
    expect(await part.finish()).toBe(204)
    await edge.sweep(Date.now() + 8 * DAY_MS)
    expect(await stored('/given-up/')).toEqual([])
    expect(await isNoted('given-up')).toBeNull()
  })

  test('a part without those before it goes with its upload', async () => {
    const bytes = makeDelta(103)
    const headers = { 'x-polylora-digest': digestOf(bytes) }
    const sent = await edge.call('gap', `${uploadOf('gap', bytes)}/3`, { method: 'PUT', headers, body: bytes })
    expect(sent.status).toBe(204)
    expect(await stored('/gap/')).toHaveLength(1)
    expect(await status('DELETE', 'gap', uploadOf('gap', bytes))).toBe(204)
    expect(await stored('/gap/')).toEqual([])
  })

  test('the same bytes, of a name that is deleted meanwhile', async () => {
    const bytes = makeDelta(104)
    await edge.publish('again', 'again/bot', bytes)
    // A claim on a version that is there leaves no trace: this notes that it was made.
    await edge.db.prepare('CREATE TABLE claims (tenant TEXT)').run()
    await edge.db
      .prepare('CREATE TRIGGER claimed BEFORE INSERT ON versions BEGIN INSERT INTO claims VALUES (NEW.tenant); END')
      .run()
    const again = slowPut(edge, 'again', '/v1/adapters/again/bot', bytes)
    await waitFor(() => edge.db.prepare("SELECT 1 FROM claims WHERE tenant = 'again'").first())
    expect(await status('DELETE', 'again', '/v1/adapters/again/bot')).toBe(200)
    expect(await again.finish()).toBe(409)
    expect(await status('GET', 'again', '/v1/adapters/again/bot')).toBe(404)
    expect(await stored(digestOf(bytes).slice('sha256:'.length))).toEqual([])
  })

  test('what comes under a key that is revoked meanwhile', async () => {
    const { body: key } = await edge.admin('POST', '/tenants/kept/keys', { scopes: ['adapters'] })
    const live = await edge.publish('kept', 'kept/revoked', 109)
    const bytes = makeDelta(110)
    const upload = slowPut(edge, String(key.key), '/v1/adapters/kept/revoked', bytes)
    await waitFor(() => edge.db.prepare("SELECT 1 FROM versions WHERE name = 'revoked' AND ready = 0").first())
    expect((await edge.admin('DELETE', `/tenants/kept/keys/${key.id}`)).status).toBe(204)
    expect(await upload.finish()).toBe(401)
    const shown = await edge.call('kept', '/v1/adapters/kept/revoked')
    expect(await shown.json()).toMatchObject({ digest: live, versions: [{ digest: live }] })
    expect(await stored(digestOf(bytes).slice('sha256:'.length))).toEqual([])
  })

  test('a version for a canary, of a name that somebody else has published meanwhile', async () => {
    const bytes = makeDelta(107)
    const staged = slowPut(edge, 'kept', '/v1/adapters/kept/new?alias=keep', bytes)
    await waitFor(() => edge.db.prepare("SELECT 1 FROM versions WHERE name = 'new' AND ready = 0").first())
    const live = await edge.publish('kept', 'kept/new', 108)
    expect(await staged.finish()).toBe(201)
    const shown = (await (await edge.call('kept', '/v1/adapters/kept/new')).json()) as {
      digest: string
      versions: { digest: string }[]
    }
    expect(shown.digest).toBe(live)
    expect(shown.versions.map(({ digest }) => digest).sort()).toEqual([live, digestOf(bytes)].sort())
  })

  test('a version for a canary, of a name that is deleted meanwhile', async () => {
    await edge.publish('staged', 'staged/bot', 105)
    const bytes = makeDelta(106)
    const staged = slowPut(edge, 'staged', '/v1/adapters/staged/bot?alias=keep', bytes)
    await waitFor(() => edge.db.prepare("SELECT 1 FROM versions WHERE tenant = 'staged' AND ready = 0").first())
    expect(await status('DELETE', 'staged', '/v1/adapters/staged/bot')).toBe(200)
    expect(await staged.finish()).toBe(409)
    expect(await stored(digestOf(bytes).slice('sha256:'.length))).toEqual([])
    expect(await edge.db.prepare("SELECT COUNT(*) AS n FROM versions WHERE tenant = 'staged'").first('n')).toBe(0)
  })
})

describe('of a deleted tenant whose name is in use again', () => {
  let backend: ProtocolBackend
  let edge: EdgeHarness
  /** Between the edge and the backend: its deletions wait for this. */
  let eviction: Promise<void> | undefined
  let evictions: number
  const front = createServer(KEPT_CONNECTIONS, (request, response) => {
    const target = new URL(request.url ?? '/', backend.url)
    const forward = async () => {
      if (request.method === 'DELETE' && evictions++ === 0) await eviction
      const onward = httpRequest(target, { method: request.method ?? 'GET', headers: request.headers }, (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers)
        answer.pipe(response)
      })
      onward.on('error', () => response.destroy())
      request.pipe(onward)
    }
    void forward()
  })

  beforeAll(async () => {
    backend = await new ProtocolBackend().listen()
    edge = await startEdge(await listenOnLoopback(front))
  })
  afterAll(async () => {
    await edge?.close()
    await closeServer(front)
    await backend?.close()
  })
  beforeEach(() => {
    backend.reset()
    eviction = undefined
    evictions = 0
  })

  const create = async (id: string, key: string, terms: object = {}) => {
    await freeName(edge, id)
    expect((await edge.admin('POST', '/tenants', { id, ...terms })).status).toBe(201)
    await edge.addTenant(id, key)
  }
  const ask = (key: string, body: object, headers: Record<string, string> = {}) =>
    edge.call(key, '/v1/chat/completions', {
      method: 'POST',
      headers,
      body: JSON.stringify({ model: 'tiny-base', messages: [{ role: 'user', content: 'hi' }], ...body }),
    })

  test('an answer is neither paid for nor shown, and stays in the books', async () => {
    const prices = { prompt_price_nano: 100, completion_price_nano: 1000 }
    await create('ghost', 'old-key', prices)
    const gate = Promise.withResolvers<void>()
    backend.behaviour.words = ['A', ' secret', ' of', ' the', ' first']
    backend.behaviour.pace = () => gate.promise
    const kept = await ask('old-key', { stream: true }, { 'idempotency-key': 'order-1' })
    const plain = await ask('old-key', { stream: true })
    expect((await edge.admin('DELETE', '/tenants/ghost')).status).toBe(200)
    gate.resolve()
    await Promise.all([kept.text(), plain.text()])
    const books = "SELECT COUNT(*) AS n FROM usage WHERE tenant = 'ghost' AND outcome = 'complete' AND price_nano > 0"
    await waitFor(async () => (await edge.db.prepare(books).first('n')) === 2)

    backend.reset()
    await create('ghost', 'new-key', { billing: 'prepaid', ...prices })
    expect((await edge.admin('GET', '/tenants/ghost')).body.balance_nano).toBe(0)
    await edge.admin('POST', '/tenants/ghost/credits', { id: 'c1', amount_nano: 1_000_000 })
    const own = await ask('new-key', { max_tokens: 10 }, { 'idempotency-key': 'order-1' })
    expect(own.headers.get('x-polylora-replayed')).toBeNull()
    expect(await own.text()).not.toContain('secret')
    const id = own.headers.get('x-request-id')
    await waitFor(() => edge.db.prepare('SELECT 1 FROM usage WHERE request_id = ?').bind(id).first())
    expect(await (await edge.call('new-key', '/v1/usage?group_by=request')).json()).toMatchObject({
      data: [{ request_id: id }],
    })
  })

  test('a request by a key that an edge still remembers is refused, the next tenant’s is not', async () => {
    await create('memory', 'remembered')
    const { created_ms: createdMs } = (await edge.admin('GET', '/tenants/memory')).body
    expect((await edge.admin('DELETE', '/tenants/memory')).status).toBe(200)
    // As an isolate that has not looked it up again sees it.
    await edge.db.prepare("INSERT INTO tenants (id, created_ms) VALUES ('memory', ?)").bind(createdMs).run()
    await edge.addTenant('memory', 'remembered-again')
    const refused = await ask('remembered-again', {})
    expect(refused.status).toBe(401)
    expect(await refused.json()).toMatchObject({ error: { code: 'invalid_api_key' } })
    await edge.db.prepare("UPDATE tenants SET created_ms = ? WHERE id = 'memory'").bind(Date.now()).run()
    await edge.addTenant('memory', 'next')
    expect((await ask('next', {})).status).toBe(200)
  })

  test('a payment is refused, whether it looks for its tenant or for its body when the name is given away', async () => {
    await create('payer', 'payer-old')
    const { created_ms: createdMs } = (await edge.admin('GET', '/tenants/payer')).body
    const body = Buffer.from(JSON.stringify({ id: 'late', amount_nano: 5_000_000 }))
    const path = '/admin/v1/tenants/payer/credits'
    const held = slowRequest(edge, ADMIN_KEY, { method: 'POST', path }, body, 1)
    expect((await edge.call('payer-old', '/v1/key')).status).toBe(200)
    expect((await edge.admin('DELETE', '/tenants/payer')).status).toBe(200)
    await create('payer', 'payer-new', { billing: 'prepaid' })
    const refused = await held.finish()
    expect([refused.status, JSON.parse(refused.text).error.code]).toEqual([404, 'tenant_not_found'])
    const move = edge.db.prepare("UPDATE tenants SET created_ms = ? WHERE id = 'payer'")
    const { created_ms: newMs } = (await edge.admin('GET', '/tenants/payer')).body
    // As it is read just before the deletion.
    await move.bind(createdMs).run()
    const pay = (id: string) => edge.admin('POST', '/tenants/payer/credits', { id, amount_nano: 700 })
    expect(await pay('later')).toMatchObject({ status: 404, body: { error: { code: 'tenant_not_found' } } })
    await move.bind(newMs).run()
    expect(await pay('own')).toMatchObject({ status: 200, body: { balance_nano: 700 } })
  })

  test('a delta moves no name', async () => {
    await create('reuse', 'reuse-old')
    const bytes = makeDelta(71)
    const upload = slowPut(edge, 'reuse-old', '/v1/adapters/reuse/support', bytes)
    await waitFor(() => edge.db.prepare("SELECT 1 FROM versions WHERE tenant = 'reuse'").first())
    expect((await edge.admin('DELETE', '/tenants/reuse')).status).toBe(200)
    await create('reuse', 'reuse-new')
    const own = await edge.publish('reuse-new', 'reuse/support', 72)
    expect(await upload.finish()).toBe(401)
    const shown = (await (await edge.call('reuse-new', '/v1/adapters/reuse/support')).json()) as { digest: string }
    expect(shown.digest).toBe(own)
    const keys = (await edge.deltas.list()).objects.map(({ key }) => key)
    expect(keys.filter((key) => key.includes(digestOf(bytes).slice('sha256:'.length)))).toEqual([])
  })

  test.each(['question', 'delta', 'alias', 'report'])('a %s whose body comes only then is refused', async (what) => {
    const id = `held-${what}`
    await create(id, `${id}-old`)
    const bytes = makeDelta(73)
    const path = `/v1/adapters/${id}/bot`
    const json = (value: object) => Buffer.from(JSON.stringify(value))
    const requests = {
      question: {
        ...{ method: 'POST', path: '/v1/chat/completions' },
        body: json({ model: `${id}/bot`, messages: [{ role: 'user', content: 'hi' }] }),
      },
      delta: { method: 'PUT', path, headers: { 'x-polylora-digest': digestOf(bytes) }, body: bytes },
      alias: { method: 'PUT', path: `${path}/alias`, body: json({ digest: digestOf(makeDelta(74)) }) },
      report: {
        ...{ method: 'PUT', path: `${path}/versions/${digestOf(makeDelta(75))}/report` },
        body: json({ verdict: 'forged' }),
      },
    }
    const request = requests[what as keyof typeof requests]
    const held = slowRequest(edge, `${id}-old`, request, request.body, 1)
    // Once a later request is through, this one waits for its body.
    expect((await edge.call(`${id}-old`, '/v1/key')).status).toBe(200)

    expect((await edge.admin('DELETE', `/tenants/${id}`)).status).toBe(200)
    await create(id, `${id}-new`)
    for (const seed of [74, 75]) await edge.publish(`${id}-new`, `${id}/bot`, seed)
    const shown = async () => await (await edge.call(`${id}-new`, path)).json()
    const before = await shown()
    expect(await held.finish()).toMatchObject({ status: 401 })
    expect(await shown()).toEqual(before)
  })

  test('a second deletion takes no money', async () => {
    await create('twice', 'twice-old')
    await edge.publish('twice-old', 'twice/bot', 9)
    const gate = Promise.withResolvers<void>()
    eviction = gate.promise
    const slow = edge.admin('DELETE', '/tenants/twice')
    await waitFor(async () => evictions === 1)
    expect((await edge.admin('DELETE', '/tenants/twice')).status).toBe(200)
    await create('twice', 'twice-new', { billing: 'prepaid' })
    await edge.admin('POST', '/tenants/twice/credits', { id: 'payment-1', amount_nano: 5_000_000 })
    gate.resolve()
    await slow
    expect((await edge.admin('GET', '/tenants/twice')).body.balance_nano).toBe(5_000_000)
  })
})
