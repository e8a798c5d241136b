import { once } from 'node:events'
import { connect } from 'node:net'
import { describe, expect, test } from 'vitest'
import { digestOf, makeDelta } from '../support/edge-harness.ts'
import { edgeOnBackends } from '../support/edge-on-backends.ts'
import { BASE_INFO } from '../support/protocol-backend.ts'

const { edge } = await edgeOnBackends()
await edge.addTenant('acme', 'key-acme')
await edge.addTenant('acme', 'key-reader', 'inference')
await edge.addTenant('globex', 'key-globex')

const put = (name: string, body: Uint8Array<ArrayBuffer>, digest = digestOf(body), key = 'key-acme') =>
  edge.call(key, `/v1/adapters/${name}`, { method: 'PUT', headers: { 'x-polylora-digest': digest }, body })

const get = async (key: string, path: string) => {
  const response = await edge.call(key, path)
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}

const storedKeys = async () => (await edge.deltas.list()).objects.map(({ key }) => key)

describe('publishing', () => {
  test('stores the bytes under their digest and moves the name to them', async () => {
    const bytes = makeDelta(1)
    const response = await put('acme/support', bytes)
    expect(response.status).toBe(201)
    const digest = digestOf(bytes)
    const described = {
      id: 'acme/support',
      digest,
      bytes: bytes.byteLength,
      rank: 2,
      modules: 1,
      source_format: 'peft',
    }
    expect(await response.json()).toMatchObject(described)
    const object = await edge.deltas.get(`deltas/${digest.replace(':', '/')}`)
    expect(new Uint8Array(await object!.arrayBuffer())).toEqual(bytes)
    expect((await get('key-acme', '/v1/adapters/acme/support')).body).toMatchObject({ ...described, report: null })
  })

  test('a second version keeps the first and changes what the name means', async () => {
    const first = await edge.publish('key-acme', 'acme/twice', 10)
    const second = await edge.publish('key-acme', 'acme/twice', 11)
    const { body } = await get('key-acme', '/v1/adapters/acme/twice')
    expect(body.digest).toBe(second)
    expect((body.versions as { digest: string }[]).map(({ digest }) => digest).sort()).toEqual([first, second].sort())
  })

  test('the same bytes again change nothing', async () => {
    const digest = await edge.publish('key-acme', 'acme/again', 20)
    expect(await edge.publish('key-acme', 'acme/again', 20)).toBe(digest)
    expect((await get('key-acme', '/v1/adapters/acme/again')).body.versions).toHaveLength(1)
  })

  test('bytes that do not hash to the declared digest leave nothing behind', async () => {
    const digest = await edge.publish('key-acme', 'acme/stays', 30)
    const before = await storedKeys()
    const wrong = digestOf(makeDelta(99))
    const response = await put('acme/stays', makeDelta(31), wrong)
    expect(response.status).toBe(422)
    expect(await response.json()).toMatchObject({ error: { code: 'digest_mismatch' } })
    expect(await storedKeys()).toEqual(before)
    expect((await get('key-acme', '/v1/adapters/acme/stays')).body).toMatchObject({ digest, versions: [{ digest }] })
  })

  test('an upload that breaks off leaves nothing behind', async () => {
    const bytes = makeDelta(32)
    const { hostname, port } = new URL(edge.url)
    const socket = connect(Number(port), hostname)
    const head = [
      'PUT /v1/adapters/acme/broken HTTP/1.1',
      `host: ${hostname}`,
      'authorization: Bearer key-acme',
      `x-polylora-digest: ${digestOf(bytes)}`,
      `content-length: ${bytes.byteLength}`,
    ]
    socket.write(`${head.join('\r\n')}\r\n\r\n`)
    // All but the last bytes, then the client goes away.
    socket.write(bytes.subarray(0, bytes.byteLength - 10), () => socket.destroy())
    await once(socket, 'close')
    expect((await get('key-acme', '/v1/adapters/acme/broken')).status).toBe(404)
    expect(await storedKeys()).not.toContain(`deltas/${digestOf(bytes).replace(':', '/')}`)
  })

  test.each([
    [
      'a delta for another base',
      makeDelta(1, { ...BASE_INFO.base, fingerprint: `sha256:${'c'.repeat(64)}` }),
      /published for base/,
    ],
    [
      'a delta of other sizes',
      makeDelta(1, { ...BASE_INFO.base, hidden_size: 16 }),
      /q_proj is \[8, 16\] in the delta/,
    ],
    ['bytes that are no delta', new TextEncoder().encode('hello, I am not a delta'), /header/],
    ['a truncated delta', makeDelta(1).slice(0, -8), /truncated/],
    [
      'a delta whose header is larger than an edge has room for',
      new Uint8Array(new BigUint64Array([3n << 20n, 0n]).buffer),
      /announces a header of 3145728 bytes \(at most 2097152\)/,
    ],
  ])('%s is refused with one sentence, and nothing is stored', async (_, bytes, sentence) => {
    const before = await storedKeys()
    const response = await put('acme/refused', bytes)
    expect(response.status).toBe(422)
    const { error } = (await response.json()) as { error: { code: string; message: string } }
    expect(error.code).toBe('invalid_delta')
    expect(error.message).toMatch(sentence)
    expect(await storedKeys()).toEqual(before)
    expect((await get('key-acme', '/v1/adapters/acme/refused')).status).toBe(404)
  })

  test('a delta of a higher rank than the backends serve is refused with one sentence, and nothing is stored', async () => {
    const before = await storedKeys()
    const response = await put('acme/refused', makeDelta(1, BASE_INFO.base, BASE_INFO.max_rank + 1))
    expect(response.status).toBe(422)
    const message = `The adapter has rank 65 and the operator allows 64; train with a smaller r or publish with --shrink-rank 64.`
    expect(await response.json()).toMatchObject({ error: { code: 'invalid_delta', message } })
    expect(await storedKeys()).toEqual(before)
    expect((await get('key-acme', '/v1/adapters/acme/refused')).status).toBe(404)
  })

  test('a delta that is larger than the backends serve is refused, and nothing is stored', async () => {
    const before = await storedKeys()
    const response = await put('acme/refused', new Uint8Array(BASE_INFO.max_delta_bytes + 1))
    expect(response.status).toBe(413)
    const message = 'The delta has 1000001 bytes; at most 1000000 can be served.'
    expect(await response.json()).toMatchObject({ error: { code: 'delta_too_large', message } })
    expect(await storedKeys()).toEqual(before)
    expect((await get('key-acme', '/v1/adapters/acme/refused')).status).toBe(404)
  })

  test('of more versions than a tenant may have is refused, but for one that it has already', async () => {
    for (const id of ['hoarder', 'frugal']) await edge.addTenant(id, `key-${id}`)
    await edge.publish('key-hoarder', 'hoarder/bot', 34)
    await edge.db
      .prepare(
        `WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
         INSERT INTO versions (tenant, name, digest, bytes, header, ready, created_ms)
         SELECT 'hoarder', 'old', 'sha256:' || printf('%064x', i), 1, '{}', 1, i FROM n`,
      )
      .run()
    const before = await storedKeys()
    const refused = await put('hoarder/bot', makeDelta(35), undefined, 'key-hoarder')
    expect(refused.status).toBe(409)
    const message =
      "'hoarder' has 10000 versions, as many as a tenant may have: delete adapters that are no longer used."
    expect(await refused.json()).toMatchObject({ error: { code: 'too_many_versions', message } })
    expect(await storedKeys()).toEqual(before)
    await edge.publish('key-hoarder', 'hoarder/bot', 34)
    // Another tenant's are its own.
    await edge.publish('key-frugal', 'frugal/bot', 35)
    await edge.db.prepare("DELETE FROM versions WHERE tenant = 'hoarder' AND name = 'old'").run()
    await edge.publish('key-hoarder', 'hoarder/bot', 35)
  })

  test('names, digests and sizes that make no sense are refused', async () => {
    const bytes = makeDelta(1)
    const unnamed = await put('acme/Not%20a%20name', bytes)
    expect(unnamed.status).toBe(400)
    const message = expect.stringMatching(/^The adapter's name 'Not a name' must be 1 to 64 of a-z, /)
    expect(await unnamed.json()).toMatchObject({ error: { message, param: 'name' } })
    expect((await put('acme/x', bytes, 'sha256:short')).status).toBe(400)
    const stream = new ReadableStream({
      start(controller) {
        controller.enqueue(bytes)
        controller.close()
      },
    })
    const chunked = { method: 'PUT', headers: { 'x-polylora-digest': digestOf(bytes) }, body: stream, duplex: 'half' }
    expect((await edge.call('key-acme', '/v1/adapters/acme/x', chunked as RequestInit)).status).toBe(411)
  })
})

describe('another tenant', () => {
  test('can neither publish, see, report on nor delete what is not its own, and learns nothing from the refusal', async () => {
    const digest = await edge.publish('key-acme', 'acme/private', 40)
    const paths = ['acme/private', 'acme/nothing']
    for (const [method, suffix, body] of [
      ['GET', '', undefined],
      ['DELETE', '', undefined],
      ['PUT', '', makeDelta(41)],
      ['PUT', `/versions/${digest}/report`, '{}'],
    ] as const) {
      const answers = await Promise.all(
        paths.map(async (path) => {
          const headers = { 'x-polylora-digest': digestOf(makeDelta(41)) }
          const init = body === undefined ? { method, headers } : { method, headers, body }
          const response = await edge.call('key-globex', `/v1/adapters/${path}${suffix}`, init)
          return { status: response.status, text: (await response.text()).replaceAll(path, 'NAME') }
        }),
      )
      expect(answers[0]!.status).toBe(404)
      expect(answers[0]).toEqual(answers[1])
    }
    expect((await get('key-acme', '/v1/adapters/acme/private')).body.digest).toBe(digest)
    expect(JSON.stringify((await get('key-globex', '/v1/adapters')).body)).not.toContain('acme')
    expect(JSON.stringify((await get('key-globex', '/v1/models')).body)).not.toContain('acme')
  })

  test('with the same bytes keeps them when the first deletes its own', async () => {
    const digest = await edge.publish('key-acme', 'acme/shared', 50)
    expect(await edge.publish('key-globex', 'globex/shared', 50)).toBe(digest)
    await edge.call('key-acme', '/v1/adapters/acme/shared', { method: 'DELETE' })
    expect(await storedKeys()).toContain(`deltas/${digest.replace(':', '/')}`)
    await edge.call('key-globex', '/v1/adapters/globex/shared', { method: 'DELETE' })
    expect(await storedKeys()).not.toContain(`deltas/${digest.replace(':', '/')}`)
  })
})

test('deleting removes the name, its versions and their bytes, and says which', async () => {
  const digests = [await edge.publish('key-acme', 'acme/gone', 60), await edge.publish('key-acme', 'acme/gone', 61)]
  const response = await edge.call('key-acme', '/v1/adapters/acme/gone', { method: 'DELETE' })
  const { erased } = (await response.json()) as { erased: string[] }
  expect(erased.sort()).toEqual(digests.sort())
  expect((await get('key-acme', '/v1/adapters/acme/gone')).status).toBe(404)
  expect((await storedKeys()).filter((key) => digests.some((digest) => key.endsWith(digest.slice(7))))).toEqual([])
})

test('deleting a name does not say of bytes that the tenant has under another that they are gone', async () => {
  const own = await edge.publish('key-acme', 'acme/twins', 62)
  const shared = await edge.publish('key-acme', 'acme/twins', 63)
  await edge.publish('key-acme', 'acme/twin', 63)
  const erasedBy = async (name: string) =>
    (await (await edge.call('key-acme', `/v1/adapters/acme/${name}`, { method: 'DELETE' })).json()) as object
  expect(await erasedBy('twins')).toMatchObject({ erased: [own] })
  expect(await erasedBy('twin')).toMatchObject({ erased: [shared] })
})

test('moving a name to where it points already keeps the way back', async () => {
  const first = await edge.publish('key-acme', 'acme/twice', 41)
  const second = await edge.publish('key-acme', 'acme/twice', 42)
  const call = async (method: string, path: string, body?: string) =>
    (await edge.call('key-acme', `/v1/adapters/acme/twice${path}`, { method, ...(body ? { body } : {}) })).json()
  const moved = await call('PUT', '/alias', JSON.stringify({ digest: second }))
  expect(moved).toMatchObject({ digest: second, previous_digest: first })
  expect(await call('POST', '/rollback')).toMatchObject({ digest: first })
})

test('one version is asked for by its digest, whatever the name points at, by its own tenant alone', async () => {
  const first = await edge.publish('key-acme', 'acme/pinned', 63)
  const second = await edge.publish('key-acme', 'acme/pinned', 64)
  const ask = (model: string, key = 'key-acme') =>
    edge.call(key, '/v1/completions', { method: 'POST', body: JSON.stringify({ model, prompt: 'hi', max_tokens: 1 }) })
  for (const digest of [first, second]) {
    const response = await ask(`acme/pinned@${digest}`)
    expect(response.headers.get('x-polylora-adapter')).toBe(digest)
  }
  const others = [`acme/pinned@${digestOf(makeDelta(65))}`, 'acme/pinned@latest', `acme/pinned@${first}@${first}`]
  for (const model of others) expect((await ask(model)).status).toBe(404)
  expect((await ask(`acme/pinned@${first}`, 'key-globex')).status).toBe(404)
})

describe('a report', () => {
  const send = (digest: string, body: string) =>
    edge.call('key-acme', `/v1/adapters/acme/reported/versions/${digest}/report`, { method: 'PUT', body })

  test('is kept with the version that it is about', async () => {
    const digest = await edge.publish('key-acme', 'acme/reported', 70)
    expect((await send(digest, JSON.stringify({ norms: [1, 2] }))).status).toBe(204)
    expect((await get('key-acme', '/v1/adapters/acme/reported')).body.report).toEqual({ norms: [1, 2] })
    const unknown = digestOf(makeDelta(71))
    const other = await send(unknown, '{}')
    expect(other.status).toBe(404)
    const error = { code: 'version_not_found', message: `'acme/reported' has no version ${unknown}.` }
    expect(await other.json()).toMatchObject({ error })
  })

  test('may be as large as that of the largest models, and not larger: all tenants share one database', async () => {
    const digest = await edge.publish('key-acme', 'acme/reported', 72)
    const modules = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj']
    const layers = Array.from({ length: 126 }, (_, i) => ({ layer: String(i), modules, norm: Math.sqrt(i + 2) }))
    const scales = Array.from({ length: layers.length * modules.length }, (_, i) => Math.sqrt(i + 2))
    const notices = Array.from({ length: 100 }, () => 'n'.repeat(200))
    expect((await send(digest, JSON.stringify({ layers, scales, notices }))).status).toBe(204)
    const tooLarge = await send(digest, JSON.stringify({ x: 'y'.repeat(64 * 1024) }))
    expect(tooLarge.status).toBe(413)
    expect((await get('key-acme', '/v1/adapters/acme/reported')).body.report).toMatchObject({ scales })
  })
})

test('a key without the scope may use adapters but not change them', async () => {
  const response = await put('acme/readonly', makeDelta(80), undefined, 'key-reader')
  expect(response.status).toBe(403)
  expect(await response.json()).toMatchObject({ error: { code: 'insufficient_scope', type: 'permission_error' } })
})

test('the models of a key are the base and its tenant’s adapters', async () => {
  const digest = await edge.publish('key-globex', 'globex/only', 90)
  const { body } = await get('key-globex', '/v1/models')
  const ids = (body.data as { id: string }[]).map(({ id }) => id)
  expect(ids).toEqual(['tiny-base', 'globex/only'])
  expect((await get('key-globex', '/v1/models/globex/only')).body).toMatchObject({ id: 'globex/only', digest })
  expect((await get('key-globex', '/v1/models/globex%2Fonly')).status).toBe(200)
  const pinned = `globex/only@${digest}`
  expect((await get('key-globex', `/v1/models/${pinned}`)).body).toMatchObject({ id: pinned, digest })
  expect((await get('key-globex', `/v1/models/globex/only@sha256:${'0'.repeat(64)}`)).status).toBe(404)
  expect((await get('key-globex', '/v1/models/acme/support')).status).toBe(404)
  expect((await get('key-globex', '/v1/base')).body).toEqual(BASE_INFO)
})
