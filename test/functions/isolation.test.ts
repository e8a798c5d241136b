import { request as httpRequest } from 'node:http'
import { describe, expect, test } from 'vitest'
import { OPERATIONS } from '../../functions/openapi/operations.ts'
import { digestOf, makeDelta, waitFor } from '../support/edge-harness.ts'
import { edgeOnBackends } from '../support/edge-on-backends.ts'
import { slowPut } from '../support/slow-put.ts'

// `victim` owns an adapter; `attacker` has a key of all scopes and knows every name, digest and request id of the victim.
const VICTIM_DELTA = makeDelta(1)
const { backend, edge } = await edgeOnBackends()
await edge.addTenant('victim', 'key-victim')
await edge.addTenant('attacker', 'key-attacker')
const digest = await edge.publish('key-victim', 'victim/secret', 1)
const ownDigest = await edge.publish('key-attacker', 'attacker/own', 2)

const ask = (key: string, body: object, headers: Record<string, string> = {}) =>
  edge.call(key, '/v1/chat/completions', {
    method: 'POST',
    headers,
    body: JSON.stringify({ messages: [{ role: 'user', content: 'hi' }], max_tokens: 2, ...body }),
  })
await ask('key-victim', { model: 'victim/secret' })

/** A request whose path is sent byte for byte, as no well-behaved client would. */
function raw(method: string, path: string, headers: Record<string, string | string[]> = {}, body?: Uint8Array) {
  return new Promise<{ status: number; text: string }>((resolve, reject) => {
    const { hostname, port } = new URL(edge.url)
    const sent = httpRequest({
      hostname,
      port,
      method,
      path,
      headers: { authorization: 'Bearer key-attacker', ...headers },
    })
    sent.on('error', reject)
    sent.on('response', (response) => {
      let text = ''
      response.on('data', (piece: Buffer) => {
        text += piece.toString()
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }))
    })
    sent.end(body)
  })
}

describe('an adapter of another tenant', () => {
  test.each([
    'victim/secret',
    'victim/Secret',
    'VICTIM/secret',
    ' victim/secret',
    'victim/secret ',
    'victim%2Fsecret',
    'victim//secret',
    './victim/secret',
    'attacker/../victim/secret',
    'attacker/own/../../victim/secret',
    'attacker/victim/secret',
    'attacker/secret',
    'victim\\secret',
    'victim/secret\u0000',
    'attacker/own\u0000victim/secret',
    'vi\u0441tim/secret',
    "victim/secret' OR '1'='1",
    'victim/%',
    '*/secret',
    'DIGEST',
    'victim/secret@DIGEST',
    'attacker/DIGEST',
  ])('is not found as model %j, like any model that does not exist', async (name) => {
    const model = name.replace('DIGEST', digest)
    const response = await ask('key-attacker', { model })
    expect(response.status).toBe(404)
    expect(response.headers.get('x-polylora-adapter')).toBeNull()
    const body = (await response.text()).replace(JSON.stringify(model).slice(1, -1), 'MODEL')
    const unknown = await (await ask('key-attacker', { model: 'attacker/unknown' })).text()
    expect(body).toBe(unknown.replace('attacker/unknown', 'MODEL'))
  })

  test('is not reached by fields and headers that only insiders would know', async () => {
    const smuggled = {
      delta: digest,
      digest,
      adapter: digest,
      tenant: 'victim',
      polylora: { adapter: digest },
      user: 'victim',
    }
    const headers = {
      'x-polylora-adapter': digest,
      'x-polylora-digest': digest,
      'x-polylora-tenant': 'victim',
      'x-tenant': 'victim',
      'x-forwarded-user': 'victim',
      'x-original-url': '/v1/adapters/victim/secret',
      'x-rewrite-url': '/v1/adapters/victim/secret',
      'x-http-method-override': 'DELETE',
    }
    for (const [model, expected] of [
      ['attacker/own', ownDigest],
      ['tiny-base', 'base'],
    ] as const) {
      const response = await ask('key-attacker', { model, ...smuggled }, headers)
      expect(response.headers.get('x-polylora-adapter')).toBe(expected)
      const seen = backend.generations.at(-1)!
      expect(seen).toMatchObject({ tenant: 'attacker', request: { delta: expected === 'base' ? null : expected } })
      await response.text()
    }
  })

  test.each([
    ['GET', '/v1/adapters/victim/secret'],
    ['GET', '/v1/adapters/attacker/../victim/secret'],
    ['GET', '/v1/adapters/attacker/%2e%2e/victim/secret'],
    ['GET', '/v1/adapters/attacker/..%2fvictim%2fsecret'],
    ['GET', '/v1/adapters/victim%2Fsecret'],
    ['GET', '/v1/adapters//victim/secret'],
    ['GET', '/v1/adapters/victim/secret/'],
    ['GET', '/v1/models/victim/secret'],
    ['GET', '/v1/models/attacker/../victim/secret'],
    ['GET', '/v1/models/DIGEST'],
    ['DELETE', '/v1/adapters/victim/secret'],
    ['DELETE', '/v1/adapters/attacker/%2e%2e/victim/secret'],
    ['DELETE', '/v1/adapters/DIGEST'],
    ['POST', '/v1/adapters/victim/secret/rollback'],
    ['DELETE', '/v1/adapters/victim/secret/canary'],
    ['GET', '/v1/adapters/victim/secret/versions/DIGEST/delta'],
    ['GET', '/v1/adapters/attacker/own/versions/DIGEST/delta'],
    ['GET', '/v1/adapters/attacker/own/versions/..%2f..%2f..%2fvictim%2fsecret%2fversions%2fDIGEST/delta'],
    ['GET', '/v1/browser/files/DIGEST'],
    ['GET', '/v1/browser/files/..%2f..%2fdeltas%2fsha256%2fDIGEST'],
    ['GET', '/v1/adapters/victim/secret/uploads/DIGEST'],
    ['POST', '/v1/adapters/victim/secret/uploads/DIGEST'],
    ['DELETE', '/v1/adapters/victim/secret/uploads/DIGEST'],
    ['POST', '/v1/adapters/attacker/%2e%2e/victim/secret/uploads/DIGEST'],
  ])('is refused as if it did not exist: %s %s', async (method, path) => {
    const { status, text } = await raw(method, path.replace('DIGEST', digest))
    // 400: it isn't even a name.
    expect([400, 404]).toContain(status)
    expect(text.replaceAll(digest, '')).not.toMatch(/sha256:[0-9a-f]/)
    expect((await edge.call('key-victim', '/v1/adapters/victim/secret')).status).toBe(200)
  })

  test('cannot be overwritten, split, moved or reported on', async () => {
    const own = makeDelta(2)
    const headers = { 'x-polylora-digest': digestOf(own), 'content-length': String(own.byteLength) }
    expect((await raw('PUT', '/v1/adapters/victim/secret', headers, own)).status).toBe(404)
    expect((await raw('PUT', '/v1/adapters/attacker/../victim/secret', headers, own)).status).toBe(404)
    for (const path of ['alias', 'canary', `versions/${digest}/report`]) {
      const body = new TextEncoder().encode(JSON.stringify({ digest: ownDigest, weight: 1 }))
      const length = { 'content-length': String(body.byteLength) }
      expect((await raw('PUT', `/v1/adapters/victim/secret/${path}`, length, body)).status).toBe(404)
    }
    const shown = await (await edge.call('key-victim', '/v1/adapters/victim/secret')).json()
    expect(shown).toMatchObject({ digest, report: null, canary: null, versions: [{ digest }] })
  })

  test('cannot be adopted by its digest: who has not the bytes has nothing', async () => {
    const put = (path: string, body: object) =>
      edge.call('key-attacker', `/v1/adapters/attacker/${path}`, { method: 'PUT', body: JSON.stringify(body) })
    expect((await put('own/alias', { digest })).status).toBe(404)
    expect((await put('own/canary', { digest, weight: 1 })).status).toBe(404)
    expect((await put(`own/versions/${digest}/report`, {})).status).toBe(404)
    // Declared, but sent are other bytes of the same length.
    const other = makeDelta(77)
    expect(other.byteLength).toBe(VICTIM_DELTA.byteLength)
    const headers = { 'x-polylora-digest': digest, 'content-length': String(other.byteLength) }
    expect((await raw('PUT', '/v1/adapters/attacker/stolen', headers, other)).status).toBe(422)
    expect((await ask('key-attacker', { model: 'attacker/stolen' })).status).toBe(404)
    expect((await put('stolen/alias', { digest })).status).toBe(404)
    expect((await ask('key-victim', { model: 'victim/secret' })).headers.get('x-polylora-adapter')).toBe(digest)
  })

  test('is not confirmed by a cache: who may not read it learns of no copy, by its ETag, a range or a condition', async () => {
    await edge.db.exec("UPDATE aliases SET may_leave = 1 WHERE tenant = 'victim'")
    const own = await edge.call('key-victim', `/v1/adapters/victim/secret/versions/${digest}/delta`)
    expect(own.headers.get('etag')).toBe(`"${digest}"`)
    expect(own.headers.get('cache-control')).toContain('private')
    expect(own.headers.get('vary')).toContain('authorization')
    for (const path of ['victim/secret', 'attacker/own']) {
      for (const headers of [{ 'if-none-match': `"${digest}"` }, { 'if-none-match': '*' }, { range: 'bytes=0-9' }]) {
        const target = `/v1/adapters/${path}/versions/${digest}/delta`
        expect((await edge.call('key-attacker', target, { headers })).status).toBe(404)
      }
    }
  })

  test('is not confirmed by a deletion: who had the same bytes, or merely named them, is told what anybody is', async () => {
    const erasedBy = async (path: string) =>
      (await (await edge.call('key-attacker', path, { method: 'DELETE' })).json()) as { erased: string[] }
    expect(await edge.publish('key-attacker', 'attacker/copy', 1)).toBe(digest)
    expect((await erasedBy('/v1/adapters/attacker/copy')).erased).toEqual([digest])
    // An upload that has begun under the digest, of other bytes.
    const named = await edge.publish('key-attacker', 'attacker/named', 51)
    const upload = slowPut(edge, 'key-attacker', '/v1/adapters/attacker/named', makeDelta(77), digest)
    const claims = edge.db.prepare("SELECT 1 FROM versions WHERE tenant = 'attacker' AND digest = ?").bind(digest)
    await waitFor(() => claims.first())
    expect((await erasedBy('/v1/adapters/attacker/named')).erased.sort()).toEqual([digest, named].sort())
    expect(await upload.finish()).toBe(422)
    expect((await ask('key-victim', { model: 'victim/secret' })).status).toBe(200)
  })

  test('is not touched by an upload of the same digest under another name, nor is an upload seen by others', async () => {
    const bytes = makeDelta(31)
    const upload = (tenant: string, rest = '') => `/v1/adapters/${tenant}/large/uploads/${digestOf(bytes)}${rest}`
    const part = { method: 'PUT', headers: { 'x-polylora-digest': digestOf(bytes) }, body: bytes }
    expect((await edge.call('key-victim', upload('victim', '/1'), part)).status).toBe(204)
    expect(await (await edge.call('key-attacker', upload('attacker'))).json()).toMatchObject({ parts: [] })
    expect((await edge.call('key-attacker', upload('attacker'), { method: 'POST' })).status).toBe(409)
    expect((await edge.call('key-attacker', upload('attacker'), { method: 'DELETE' })).status).toBe(204)
    expect((await edge.call('key-attacker', upload('victim', '/1'), part)).status).toBe(404)
    expect(await (await edge.call('key-victim', upload('victim'))).json()).toMatchObject({ parts: [{ part: 1 }] })
    expect((await edge.call('key-victim', upload('victim'), { method: 'POST' })).status).toBe(201)
  })

  test('is not in what the backends are said to hold, though they hold it', async () => {
    expect(backend.deltas.has(digest)).toBe(true)
    const seen = await (await edge.call('key-victim', '/v1/residency')).json()
    expect(seen).toMatchObject({ data: [{ backend: 0, adapters: [{ digest, names: ['victim/secret'] }] }] })
    const hidden = await (await edge.call('key-attacker', '/v1/residency')).text()
    expect(hidden).not.toContain(digest)
    expect(hidden).not.toContain(backend.url)
  })

  test('gets no share of a canary that its tenant did not set, whichever user is named', async () => {
    const second = await edge.publish('key-victim', 'victim/split', 41)
    const put = { method: 'PUT', body: JSON.stringify({ digest: second, weight: 1 }) }
    expect((await edge.call('key-attacker', '/v1/adapters/victim/split/canary', put)).status).toBe(404)
    expect((await edge.call('key-attacker', '/v1/adapters/attacker/own/canary', put)).status).toBe(404)
    for (const user of ['victim', digest, 'victim/split']) {
      expect((await ask('key-attacker', { model: 'victim/split', user })).status).toBe(404)
      const own = await ask('key-attacker', { model: 'attacker/own', user })
      expect(own.headers.get('x-polylora-adapter')).toBe(ownDigest)
    }
  })

  test('leaves no trace in lists, by whatever parameter', async () => {
    for (const path of [
      '/v1/adapters',
      '/v1/models',
      '/v1/residency',
      '/v1/key',
      '/v1/usage/latency?group_by=adapter,digest,key',
      '/v1/usage?group_by=request',
      '/v1/usage?group_by=tenant,adapter,digest,key',
    ]) {
      for (const suffix of ['', 'tenant=victim', 'owner=victim', 'tenant[]=victim&tenant=attacker']) {
        const response = await edge.call('key-attacker', `${path}${path.includes('?') ? '&' : '?'}${suffix}`)
        expect(response.status).toBe(suffix !== '' && path.includes('usage') ? 400 : 200)
        const text = await response.text()
        expect(text).not.toContain('victim')
        expect(text).not.toContain(digest)
      }
    }
  })
})

describe('a caller', () => {
  test('cannot choose its request id, and so settle or hide in another’s account', async () => {
    const first = await ask('key-victim', { model: 'tiny-base' })
    const taken = first.headers.get('x-request-id')!
    const second = await ask('key-attacker', { model: 'tiny-base' }, { 'x-request-id': taken })
    expect(second.headers.get('x-request-id')).not.toBe(taken)
    const record = await waitFor(() =>
      edge.db.prepare('SELECT tenant FROM usage WHERE request_id = ?').bind(taken).first<{ tenant: string }>(),
    )
    expect(record.tenant).toBe('victim')
  })

  test('gets no answer of another tenant by its Idempotency-Key', async () => {
    const headers = { 'idempotency-key': 'shared-key' }
    backend.behaviour.words = ['the', ' victim', "'s", ' words']
    await (await ask('key-victim', { model: 'tiny-base' }, headers)).text()
    backend.reset()
    const response = await ask('key-attacker', { model: 'tiny-base' }, headers)
    expect(response.headers.get('x-polylora-replayed')).toBeNull()
    expect(await response.text()).toContain('Hello')
  })

  test('gets nothing by two keys, a key in the wrong place, or a key with decoration', async () => {
    const attempts: Record<string, string | string[]>[] = [
      { authorization: 'Bearer key-attacker, Bearer key-victim' },
      { authorization: 'Bearer key-attacker key-victim' },
      { authorization: 'Basic a2V5LXZpY3RpbTo=' },
      { authorization: 'key-victim' },
      { authorization: 'Bearer ' },
      { authorization: 'Bearer KEY-VICTIM' },
      { authorization: '', 'x-api-key': 'key-victim' },
    ]
    for (const headers of attempts) {
      const { status, text } = await raw('GET', '/v1/models', headers)
      expect(status).toBe(401)
      expect(text).not.toContain('victim')
    }
    expect((await raw('GET', '/v1/models?api_key=key-victim', { authorization: '' })).status).toBe(401)
  })

  test('of one kind is not the other: a tenant’s key opens no admin route', async () => {
    for (const { method, path, scope } of OPERATIONS) {
      if (scope !== 'admin') continue
      const { status, text } = await raw(
        method.toUpperCase(),
        path.replace('{tenant}', 'victim').replaceAll(/\{\w+\}/g, 'x'),
      )
      expect(status, `${method} ${path}`).toBe(401)
      expect(text).not.toContain('victim')
    }
    expect([401, 404]).toContain((await raw('GET', '/v1/../admin/v1/tenants')).status)
    expect((await raw('DELETE', '/admin/v1/tenants/victim')).status).toBe(401)
  })

  test('is told to keep no answer where others could find it', async () => {
    for (const path of ['/v1/models', '/v1/adapters', '/v1/usage']) {
      const response = await edge.call('key-victim', path)
      expect(response.headers.get('cache-control')).toBe('private, no-store')
    }
    expect((await ask('key-victim', { model: 'tiny-base' })).headers.get('cache-control')).toBe('private, no-store')
  })
})

test('another tenant’s answers are the same whether or not its name exists', async () => {
  const existing = await ask('key-attacker', { model: 'victim/secret' })
  const missing = await ask('key-attacker', { model: 'victim/nothing' })
  const headersOf = (response: Response) => [...response.headers.keys()].filter((name) => name !== 'date').sort()
  expect(headersOf(existing)).toEqual(headersOf(missing))
  expect((await existing.text()).replace('secret', 'nothing')).toBe(await missing.text())
})

test('no look-up is made for another tenant’s name, so there is no work whose time could tell that it exists', async () => {
  const own = makeDelta(2)
  const calls: [path: string, init: RequestInit][] = [
    ...['chat/completions', 'completions', 'embeddings'].map((route): [string, RequestInit] => [
      `/v1/${route}`,
      {
        method: 'POST',
        body: JSON.stringify({
          model: 'victim/secret',
          prompt: 'hi',
          input: 'hi',
          messages: [{ role: 'user', content: 'hi' }],
        }),
      },
    ]),
    ['/v1/adapters/victim/secret', { method: 'GET' }],
    ['/v1/adapters/victim/secret', { method: 'DELETE' }],
    ['/v1/adapters/victim/secret', { method: 'PUT', headers: { 'x-polylora-digest': digestOf(own) }, body: own }],
    ['/v1/adapters/victim/secret/rollback', { method: 'POST' }],
    ['/v1/adapters/victim/secret/alias', { method: 'PUT', body: JSON.stringify({ digest }) }],
    ['/v1/adapters/victim/secret/canary', { method: 'PUT', body: JSON.stringify({ digest, weight: 1 }) }],
    ['/v1/adapters/victim/secret/canary', { method: 'DELETE' }],
    [`/v1/adapters/victim/secret/versions/${digest}/report`, { method: 'PUT', body: '{}' }],
    [`/v1/adapters/victim/secret/versions/${digest}/delta`, { method: 'GET' }],
    [`/v1/adapters/victim/secret/uploads/${digest}`, { method: 'GET' }],
    [`/v1/adapters/victim/secret/uploads/${digest}`, { method: 'POST' }],
    [`/v1/adapters/victim/secret/uploads/${digest}`, { method: 'DELETE' }],
    [
      `/v1/adapters/victim/secret/uploads/${digest}/1`,
      { method: 'PUT', headers: { 'x-polylora-digest': digestOf(own) }, body: own },
    ],
  ]
  // Whoever looked into these tables now would get an error of the registry instead of 404.
  for (const table of ['aliases', 'versions']) await edge.db.exec(`ALTER TABLE ${table} RENAME TO hidden_${table}`)
  const statuses: number[] = []
  for (const [path, init] of calls) statuses.push((await edge.call('key-attacker', path, init)).status)
  const control = await edge.call('key-attacker', '/v1/adapters/attacker/own')
  for (const table of ['aliases', 'versions']) await edge.db.exec(`ALTER TABLE hidden_${table} RENAME TO ${table}`)
  expect(statuses).toEqual(calls.map(() => 404))
  expect(control.status).toBe(503)
})
