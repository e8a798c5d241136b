import { describe, expect, test } from 'vitest'
import { ADMIN_KEY, startEdge } from '../support/edge-harness.ts'
import { edgeOnBackends } from '../support/edge-on-backends.ts'
import { askEdge, madeTenant } from '../support/made-tenant.ts'
import { BACKEND_SECRET } from '../support/protocol-backend.ts'

const { backend, edge } = await edgeOnBackends()

const ask = (key: string, model: string) => askEdge(edge, key, model)
const tenant = (id: string) => madeTenant(edge, id)

describe('the admin API', () => {
  test('opens to the admin key only, and not at all where the deployment has none', async () => {
    const { key } = await tenant('curious')
    for (const wrong of [key, 'x', ADMIN_KEY.slice(0, -1)]) {
      expect((await edge.call(wrong, '/admin/v1/tenants')).status).toBe(401)
    }
    expect((await fetch(`${edge.url}/admin/v1/tenants`)).status).toBe(401)
    const without = await startEdge(backend.url, { POLYLORA_BACKEND_SECRET: BACKEND_SECRET })
    expect((await without.call(ADMIN_KEY, '/admin/v1/tenants')).status).toBe(401)
    expect((await without.call('undefined', '/admin/v1/tenants')).status).toBe(401)
    await without.close()
  })

  test('creates a tenant once, shows and changes its terms', async () => {
    const terms = { requests_per_minute: 60, billing: 'prepaid', prompt_price_nano: 150 }
    expect((await edge.admin('POST', '/tenants', { id: 'newcomer', ...terms })).body).toMatchObject({
      id: 'newcomer',
      ...terms,
    })
    expect((await edge.admin('POST', '/tenants', { id: 'newcomer' })).status).toBe(409)
    expect((await edge.admin('PATCH', '/tenants/newcomer', { requests_per_minute: null })).status).toBe(200)
    const shown = { ...terms, requests_per_minute: null, balance_nano: 0 }
    expect((await edge.admin('GET', '/tenants/newcomer')).body).toMatchObject(shown)
    const { body } = await edge.admin('GET', '/tenants')
    expect((body.data as { id: string }[]).map(({ id }) => id)).toContain('newcomer')
    expect((await edge.admin('GET', '/tenants/nobody')).status).toBe(404)
    expect((await edge.admin('POST', '/tenants', { id: 'Bad Name' })).status).toBe(400)
  })

  test('creates a tenant with its terms or not at all, where the database fails', async () => {
    const terms = { tokens_per_minute: 1000, billing: 'prepaid', completion_price_nano: 300 }
    const create = () => edge.admin('POST', '/tenants', { id: 'half-made', ...terms })
    const failing = (when: string) =>
      edge.db.prepare(
        `CREATE TRIGGER failing BEFORE ${when} ON tenants BEGIN SELECT RAISE(ABORT, 'the database is full'); END`,
      )
    await failing('INSERT').run()
    expect((await create()).status).toBe(503)
    expect((await edge.admin('GET', '/tenants/half-made')).status).toBe(404)
    await edge.db.prepare('DROP TRIGGER failing').run()
    // Nothing is left to be changed once it is there.
    await failing('UPDATE').run()
    expect(await create()).toMatchObject({ status: 201, body: terms })
    expect((await edge.admin('GET', '/tenants/half-made')).body).toMatchObject({ ...terms, requests_per_minute: null })
    await edge.db.prepare('DROP TRIGGER failing').run()
  })

  test('refuses a field that it does not know: a misspelt limit would be none, a misspelt expiry never come', async () => {
    const { keyId } = await tenant('careful')
    const refused = [
      ['POST', '/tenants', { id: 'careless', request_per_minute: 60 }],
      ['PATCH', '/tenants/careful', { price: 150 }],
      ['POST', '/tenants/careful/credits', { id: 'one', amount_nano: 1, note: 'x' }],
      ['POST', '/tenants/careful/keys', { expires: 1 }],
      ['POST', `/tenants/careful/keys/${keyId}/rotate`, { overlap: 60 }],
    ] as const
    for (const [method, path, given] of refused) {
      const { status, body } = await edge.admin(method, path, given)
      expect(status).toBe(400)
      expect(body.error).toMatchObject({ message: expect.stringContaining(Object.keys(given).at(-1)!) })
    }
    expect((await edge.admin('GET', '/tenants/careless')).status).toBe(404)
  })

  test('deleting a tenant erases keys, adapters, objects and backend caches, and says which', async () => {
    const { key, keyId } = await tenant('leaving')
    const { key: neighbour } = await tenant('staying')
    const own = await edge.publish(key, 'leaving/one', 200)
    const shared = await edge.publish(key, 'leaving/two', 201)
    await edge.publish(neighbour, 'staying/two', 201)
    await ask(key, 'leaving/one')
    expect(backend.deltas.has(own)).toBe(true)

    const { status, body } = await edge.admin('DELETE', '/tenants/leaving')
    expect(status).toBe(200)
    expect(body).toMatchObject({
      deleted: true,
      keys: [keyId],
      adapters: ['leaving/one', 'leaving/two'],
      objects: [`deltas/${own.replace(':', '/')}`],
      backend_caches: [{ digest: own, evicted: 1, failed: 0 }],
    })
    expect(backend.deltas.has(own)).toBe(false)
    expect(await edge.deltas.head(`deltas/${own.replace(':', '/')}`)).toBeNull()
    expect(await edge.deltas.head(`deltas/${shared.replace(':', '/')}`)).not.toBeNull()
    expect((await ask(key, 'leaving/one')).status).toBe(401)
    expect((await ask(neighbour, 'staying/two')).status).toBe(200)
    expect((await edge.admin('GET', '/tenants/leaving')).status).toBe(404)
    // What it used stays in the books.
    const rows = await edge.db
      .prepare("SELECT COUNT(*) AS n FROM usage WHERE tenant = 'leaving'")
      .first<{ n: number }>()
    expect(rows?.n).toBe(1)
  })
})

test('a key can be asked what it is and what was agreed with its tenant', async () => {
  const { key, keyId } = await tenant('self-aware')
  await edge.admin('PATCH', '/tenants/self-aware', { requests_per_minute: 7, prompt_price_nano: 150 })
  await edge.admin('POST', '/tenants/self-aware/credits', { id: 'x', amount_nano: 5 })
  expect(await (await edge.call(key, '/v1/key')).json()).toEqual({
    object: 'api_key',
    id: keyId,
    tenant: 'self-aware',
    scopes: ['inference', 'adapters', 'usage'],
    expires_ms: null,
    requests_per_minute: 7,
    tokens_per_minute: null,
    billing: 'postpaid',
    prompt_price_nano: 150,
    cached_price_nano: 0,
    completion_price_nano: 0,
    balance_nano: 5,
    held_nano: 0,
  })
})

test('a tenant sees what the backends hold of its versions, the operator all, and who cannot be asked is said so', async () => {
  const { key } = await tenant('resident')
  const { key: other } = await tenant('elsewhere')
  const digest = await edge.publish(key, 'resident/bot', 500)
  await edge.publish(key, 'resident/also', 500)
  await (await ask(key, 'resident/bot')).json()
  const held = async (as: string) => (await (await edge.call(as, '/v1/residency')).json()) as { data: object[] }
  expect((await held(key)).data).toEqual([
    {
      backend: 0,
      reachable: true,
      adapters: [{ digest, names: ['resident/also', 'resident/bot'], tier: 'host', bytes: null, last_used_ms: null }],
    },
  ])
  expect((await held(other)).data).toEqual([{ backend: 0, reachable: true, adapters: [] }])
  const { body } = await edge.admin('GET', '/residency')
  expect(body.data).toMatchObject([{ backend: backend.url, reachable: true }])
  expect(JSON.stringify(body)).toContain(digest)
  const lonely = await startEdge('http://127.0.0.1:1')
  expect((await lonely.admin('GET', '/residency')).body.data).toEqual([
    { backend: 'http://127.0.0.1:1', reachable: false, adapters: [] },
  ])
  await lonely.close()
})

test('the operator sees a tenant’s adapters and which of them browsers may download', async () => {
  const { key } = await tenant('lender')
  await edge.publish(key, 'lender/bot', 502)
  const listed = async () => (await edge.admin('GET', '/tenants/lender/adapters')).body.data
  expect(await listed()).toMatchObject([{ id: 'lender/bot', may_leave: false }])
  await edge.admin('PATCH', '/tenants/lender/adapters/bot', { may_leave: true })
  expect(await listed()).toMatchObject([{ id: 'lender/bot', may_leave: true }])
  expect((await edge.admin('GET', '/tenants/nobody/adapters')).status).toBe(404)
})

describe('versions', () => {
  const put = (key: string, path: string, body: object) =>
    edge.call(key, path, { method: 'PUT', body: JSON.stringify(body) })
  const digestOfAnswer = async (key: string, model: string, user: string) => {
    const response = await edge.call(key, '/v1/chat/completions', {
      method: 'POST',
      body: JSON.stringify({ model, user, messages: [{ role: 'user', content: 'hi' }], max_tokens: 1 }),
    })
    await response.json()
    return response.headers.get('x-polylora-adapter')
  }

  test('can be rolled back, and forward again', async () => {
    const { key } = await tenant('roller')
    const first = await edge.publish(key, 'roller/bot', 400)
    const nothing = await edge.call(key, '/v1/adapters/roller/bot/rollback', { method: 'POST' })
    expect(nothing.status).toBe(409)
    const second = await edge.publish(key, 'roller/bot', 401)
    for (const expected of [first, second]) {
      const response = await edge.call(key, '/v1/adapters/roller/bot/rollback', { method: 'POST' })
      expect(await response.json()).toMatchObject({ digest: expected })
      expect(await digestOfAnswer(key, 'roller/bot', 'anyone')).toBe(expected)
    }
    const moved = await put(key, '/v1/adapters/roller/bot/alias', { digest: first })
    expect(await moved.json()).toMatchObject({ digest: first, previous_digest: second })
    const stale = await put(key, '/v1/adapters/roller/bot/alias', { digest: first, from: second })
    expect(stale.status).toBe(409)
    const misspelt = await put(key, '/v1/adapters/roller/bot/alias', { digest: first, form: first })
    expect(misspelt.status).toBe(400)
    const unknown = await put(key, '/v1/adapters/roller/bot/alias', { digest: `sha256:${'0'.repeat(64)}` })
    expect(unknown.status).toBe(404)
  })

  test('keeps each end user on one side of a canary, by whichever of OpenAI’s names it is named', async () => {
    const { key } = await tenant('named')
    await edge.publish(key, 'named/bot', 510)
    const candidate = await edge.publish(key, 'named/bot?alias=keep', 511)
    await put(key, '/v1/adapters/named/bot/canary', { digest: candidate, weight: 0.5 })
    const digests = async (extra: object, path = 'chat/completions') => {
      const texts = { messages: [{ role: 'user', content: 'hi' }], prompt: 'hi', input: 'hi' }
      const body = JSON.stringify({ model: 'named/bot', ...texts, ...extra })
      const asked = Array.from({ length: 20 }, () => edge.call(key, `/v1/${path}`, { method: 'POST', body }))
      const given = (await Promise.all(asked)).map(({ headers }) => headers.get('x-polylora-adapter'))
      return new Set(given)
    }
    const [side, ...others] = await digests({ safety_identifier: 'ada' })
    expect(others).toEqual([])
    expect(await digests({ user: '', safety_identifier: 'ada' }, 'completions')).toEqual(new Set([side]))
    expect(await digests({ user: 'ada' }, 'embeddings')).toEqual(new Set([side]))
    // Nobody is named.
    expect((await digests({ user: '' })).size).toBe(2)
  })

  test('can share a name by weight, each user always on the same side', async () => {
    const { key } = await tenant('canary')
    const stable = await edge.publish(key, 'canary/bot', 500)
    // A misspelt `keep` must not move the name.
    await expect(edge.publish(key, 'canary/bot?alias=kept', 501)).rejects.toThrow(/400 .*"param":"alias"/)
    const candidate = await edge.publish(key, 'canary/bot?alias=keep', 501)
    expect(await digestOfAnswer(key, 'canary/bot', 'anyone')).toBe(stable)
    const split = await put(key, '/v1/adapters/canary/bot/canary', { digest: candidate, weight: 0.3 })
    expect(await split.json()).toMatchObject({ digest: stable, canary: { digest: candidate, weight: 0.3 } })

    const users = Array.from({ length: 120 }, (_, index) => `user-${index}`)
    const sides = await Promise.all(users.map((user) => digestOfAnswer(key, 'canary/bot', user)))
    const again = await Promise.all(users.map((user) => digestOfAnswer(key, 'canary/bot', user)))
    expect(again).toEqual(sides)
    const share = sides.filter((digest) => digest === candidate).length / users.length
    expect(share).toBeGreaterThan(0.15)
    expect(share).toBeLessThan(0.45)

    await edge.call(key, '/v1/adapters/canary/bot/canary', { method: 'DELETE' })
    const after = await Promise.all(users.slice(0, 20).map((user) => digestOfAnswer(key, 'canary/bot', user)))
    expect(new Set(after)).toEqual(new Set([stable]))
    const foreign = await put(key, '/v1/adapters/canary/bot/canary', { digest: `sha256:${'1'.repeat(64)}`, weight: 1 })
    expect(foreign.status).toBe(404)
  })
})
