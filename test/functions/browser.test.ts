import { describe, expect, test } from 'vitest'
import { type BrowserModel, modelFiles } from '../../gpu-backend/browser/manifest.ts'
import { ADMIN_KEY, digestOf, makeDelta } from '../support/edge-harness.ts'
import { edgeOnBackends } from '../support/edge-on-backends.ts'
import { BASE_INFO } from '../support/protocol-backend.ts'

const { edge } = await edgeOnBackends()
await edge.addTenant('acme', 'key-acme')
await edge.addTenant('acme', 'key-usage', 'usage adapters')
await edge.addTenant('other', 'key-other')
const digest = await edge.publish('key-acme', 'acme/support')

const fileOf = (seed: number) => Uint8Array.from({ length: 1000 + seed }, (_, i) => (i * 31 + seed) % 256)
const namedFile = (bytes: Uint8Array) => ({ digest: digestOf(bytes), bytes: bytes.byteLength })
const PARTS = [fileOf(1), fileOf(2)]
const FILES = [...PARTS, fileOf(3), fileOf(4), fileOf(5)]

function manifest(weights = PARTS, base = BASE_INFO.base): BrowserModel {
  return {
    base,
    weights: 'f32',
    context_tokens: 128,
    graphs: { wasm: namedFile(fileOf(3)), webgpu: namedFile(fileOf(4)) },
    tokenizer: namedFile(fileOf(5)),
    weights_parts: weights.map(namedFile),
  }
}

const upload = (bytes: Uint8Array<ArrayBuffer>, name = digestOf(bytes), key = ADMIN_KEY) =>
  edge.call(key, `/admin/v1/browser/files/${name}`, { method: 'PUT', body: bytes })
const publish = (model: BrowserModel) => edge.admin('PUT', '/browser/model', model)
const storedFiles = async () => (await edge.deltas.list({ prefix: 'browser/' })).objects.map(({ key }) => key).sort()
const keysOf = (files: readonly Uint8Array[]) =>
  files.map((bytes) => `browser/${digestOf(bytes).replace(':', '/')}`).sort()

const askFor = async (bytes: Uint8Array<ArrayBuffer>) => {
  const response = await edge.call(ADMIN_KEY, `/admin/v1/browser/files/${digestOf(bytes)}`)
  return [response.status, await response.json()]
}
const DAY_MS = 86_400_000

async function expectRefusal(response: Response, status: number, code: string): Promise<void> {
  expect([response.status, await response.json()]).toEqual([status, { error: expect.objectContaining({ code }) }])
}

describe('the base model for browsers', () => {
  test('is not there until the operator has published it, and not after it was withdrawn', async () => {
    await expectRefusal(await edge.call('key-acme', '/v1/browser/model'), 404, 'browser_model_not_found')
    await expectRefusal(
      await edge.call('key-acme', `/v1/browser/files/${digestOf(fileOf(1))}`),
      404,
      'browser_model_not_found',
    )
    for (const bytes of FILES) expect((await upload(bytes)).status).toBe(201)
    expect((await publish(manifest())).status).toBe(200)
    expect(await (await edge.call('key-acme', '/v1/browser/model')).json()).toEqual(manifest())
    expect(await storedFiles()).toEqual(keysOf(FILES))

    expect(await edge.admin('GET', '/browser/model')).toMatchObject({
      body: { base: BASE_INFO.base, model: manifest() },
    })
    expect((await edge.admin('DELETE', '/browser/model')).status).toBe(204)
    expect(await edge.admin('GET', '/browser/model')).toMatchObject({ body: { base: BASE_INFO.base, model: null } })
    await expectRefusal(await edge.call('key-acme', '/v1/browser/model'), 404, 'browser_model_not_found')
    expect(await storedFiles()).toEqual([])
    expect((await edge.admin('DELETE', '/browser/model')).status).toBe(404)
  })

  test('gives way to another one, of which only the new files stay', async () => {
    for (const bytes of FILES) await upload(bytes)
    await publish(manifest())
    const newer = [fileOf(1), fileOf(6)]
    await upload(fileOf(6))
    await publish(manifest(newer))
    expect(await storedFiles()).toEqual(keysOf([...newer, fileOf(3), fileOf(4), fileOf(5)]))
    await expectRefusal(await edge.call('key-acme', `/v1/browser/files/${digestOf(fileOf(2))}`), 404, 'file_not_found')
    await upload(fileOf(2))
    await publish(manifest())
  })

  test('is refused where it is another base’s, or not a manifest', async () => {
    const foreign = manifest(PARTS, { ...BASE_INFO.base, fingerprint: `sha256:${'c'.repeat(64)}` })
    expect(await publish(foreign)).toMatchObject({ status: 422, body: { error: { code: 'wrong_base' } } })
    const cut = { ...manifest(), weights_parts: [] }
    expect(await publish(cut)).toMatchObject({ status: 400, body: { error: { param: 'weights_parts' } } })
    expect(await (await edge.call('key-acme', '/v1/browser/model')).json()).toEqual(manifest())
  })

  test('takes no file but the one that its digest names, and of the operator alone', async () => {
    await expectRefusal(await upload(fileOf(7), digestOf(fileOf(8))), 422, 'digest_mismatch')
    await expectRefusal(await upload(fileOf(7), 'sha256:short'), 400, 'invalid_digest')
    await expectRefusal(await upload(fileOf(7), digestOf(fileOf(7)), 'key-acme'), 401, 'invalid_admin_key')
    expect(await storedFiles()).not.toEqual(expect.arrayContaining(keysOf([fileOf(7)])))
  })

  test('is refused where a file that it names is not stored, or has another size, and published once all are', async () => {
    const newer = [fileOf(1), fileOf(8)]
    const refused = { status: 422, body: { error: { code: 'file_not_stored' } } }
    expect(await publish(manifest(newer))).toMatchObject(refused)
    expect(await askFor(fileOf(8))).toEqual([404, { error: expect.objectContaining({ code: 'file_not_found' }) }])
    await upload(fileOf(8))
    expect(await askFor(fileOf(8))).toEqual([200, namedFile(fileOf(8))])
    const { weights_parts: parts, ...rest } = manifest(newer)
    const longer = parts.map(({ digest, bytes }) => ({ digest, bytes: bytes + 1 }))
    expect(await publish({ ...rest, weights_parts: longer })).toMatchObject(refused)
    expect((await publish(manifest(newer))).status).toBe(200)
    await upload(fileOf(2))
    expect((await publish(manifest())).status).toBe(200)
  })

  test('whose file was lost is published again as soon as that is stored', async () => {
    await edge.deltas.delete(keysOf([fileOf(4)])[0]!)
    expect(await publish(manifest())).toMatchObject({ status: 422, body: { error: { code: 'file_not_stored' } } })
    await upload(fileOf(4))
    expect((await publish(manifest())).status).toBe(200)
  })

  test('leaves a file that no manifest names for a week, and one that is named for ever', async () => {
    await upload(fileOf(9))
    await edge.sweep(Date.now() + 6 * DAY_MS)
    expect(await storedFiles()).toEqual(keysOf([...FILES, fileOf(9)]))
    await edge.sweep(Date.now() + 8 * DAY_MS)
    expect(await storedFiles()).toEqual(keysOf(FILES))
    await edge.sweep(Date.now() + 16 * DAY_MS)
    expect(await storedFiles()).toEqual(keysOf(FILES))
  })

  test('is withdrawn with all its files, if need be by the sweep', async () => {
    await edge.admin('DELETE', '/browser/model')
    // As where the edge, or the store, died before it erased this one.
    await edge.deltas.put(keysOf([fileOf(5)])[0]!, fileOf(5))
    await edge.sweep(Date.now() + 60_000)
    expect(await storedFiles()).toEqual([])
    for (const bytes of FILES) await upload(bytes)
    expect((await publish(manifest())).status).toBe(200)
  })

  test('is for keys that may generate', async () => {
    for (const path of ['model', `files/${digestOf(fileOf(1))}`]) {
      await expectRefusal(await edge.call('key-usage', `/v1/browser/${path}`), 403, 'insufficient_scope')
      expect((await fetch(new URL(`/v1/browser/${path}`, edge.url))).status).toBe(401)
      expect((await edge.call('key-other', `/v1/browser/${path}`)).status).toBe(200)
    }
  })

  test('is handed out file by file, each as it was stored', async () => {
    for (const file of modelFiles(manifest())) {
      const response = await edge.call('key-acme', `/v1/browser/files/${file.digest}`)
      expect(response.status).toBe(200)
      expect(digestOf(new Uint8Array(await response.arrayBuffer()))).toBe(file.digest)
    }
    // A delta is no file of the base, and the base's files are nobody's delta.
    await expectRefusal(await edge.call('key-acme', `/v1/browser/files/${digest}`), 404, 'file_not_found')
    await expectRefusal(await edge.call('key-acme', '/v1/browser/files/..%2f..%2fdeltas'), 404, 'file_not_found')
  })
})

describe('a file that is named by its digest', () => {
  const file = fileOf(1)
  const path = `/v1/browser/files/${digestOf(file)}`
  const get = (headers: Record<string, string>) => edge.call('key-acme', path, { headers })

  test('may be kept for ever, but by nobody else’s cache', async () => {
    const { headers } = await get({})
    expect(headers.get('cache-control')).toBe('private, max-age=31536000, immutable')
    expect(headers.get('vary')).toBe('authorization')
    expect(headers.get('etag')).toBe(`"${digestOf(file)}"`)
    expect(headers.get('accept-ranges')).toBe('bytes')
    expect(headers.get('x-request-id')).toBeTruthy()
  })

  test('is not sent again to who has it', async () => {
    for (const tag of [`"${digestOf(file)}"`, `"other", W/"${digestOf(file)}"`, '*']) {
      const response = await get({ 'if-none-match': tag })
      expect([response.status, await response.text()]).toEqual([304, ''])
    }
    expect((await get({ 'if-none-match': '"other"' })).status).toBe(200)
  })

  test.each([
    ['bytes=0-9', 0, 9],
    ['bytes=990-', 990, 1000],
    ['bytes=-5', 996, 1000],
    ['bytes=-5000', 0, 1000],
    ['bytes=400-90000', 400, 1000],
    ['bytes=1000-1000', 1000, 1000],
  ])('is sent in part: %s', async (range, start, end) => {
    const response = await get({ range })
    expect(response.status).toBe(206)
    expect(response.headers.get('content-range')).toBe(`bytes ${start}-${end}/1001`)
    expect(new Uint8Array(await response.arrayBuffer())).toEqual(file.slice(start, end + 1))
  })

  test.each(['bytes=1001-', 'bytes=5000-6000', 'bytes=-0'])('has nothing at %s', async (range) => {
    const response = await get({ range })
    expect(response.headers.get('content-range')).toBe('bytes */1001')
    await expectRefusal(response, 416, 'range_not_satisfiable')
  })

  test.each(['bytes=9-0', 'bytes=0-1,5-6', 'lines=0-3', 'bytes=-', 'nonsense'])(
    'is sent whole for %s',
    async (range) => {
      const response = await get({ range })
      expect([response.status, (await response.arrayBuffer()).byteLength]).toEqual([200, 1001])
    },
  )

  test('is sent whole where what it is to go on from was another file', async () => {
    const go = (tag: string) => get({ range: 'bytes=500-', 'if-range': tag })
    expect((await go('"other"')).status).toBe(200)
    expect((await go(`"${digestOf(file)}"`)).status).toBe(206)
  })
})

describe('an adapter’s delta', () => {
  const path = () => `/v1/adapters/acme/support/versions/${digest}/delta`
  const decide = (mayLeave: boolean, name = 'acme/adapters/support') =>
    edge.admin('PATCH', `/tenants/${name}`, { may_leave: mayLeave })

  test('leaves only where the operator lets it, for the time that it is let', async () => {
    await expectRefusal(await edge.call('key-acme', path()), 403, 'adapter_may_not_leave')
    expect(await decide(true)).toMatchObject({ status: 200, body: { id: 'acme/support', may_leave: true } })
    const response = await edge.call('key-acme', path())
    expect(response.status).toBe(200)
    expect(new Uint8Array(await response.arrayBuffer())).toEqual(makeDelta(1))
    expect((await edge.call('key-acme', path(), { headers: { range: 'bytes=8-15' } })).status).toBe(206)
    await decide(false)
    await expectRefusal(await edge.call('key-acme', path()), 403, 'adapter_may_not_leave')
  })

  test('says whether it may leave, where adapters are shown', async () => {
    await decide(true)
    expect(await (await edge.call('key-acme', '/v1/adapters/acme/support')).json()).toMatchObject({ may_leave: true })
    expect(await (await edge.call('key-acme', '/v1/adapters')).json()).toMatchObject({ data: [{ may_leave: true }] })
    // The decision is for the name: the next version keeps it, a name that is made anew does not.
    const second = await edge.publish('key-acme', 'acme/support', 2)
    expect((await edge.call('key-acme', path().replace(digest, second))).status).toBe(200)
    await edge.call('key-acme', '/v1/adapters/acme/support', { method: 'DELETE' })
    await edge.publish('key-acme', 'acme/support')
    await expectRefusal(await edge.call('key-acme', path()), 403, 'adapter_may_not_leave')
  })

  test('is its tenant’s alone, whatever is known of it', async () => {
    await decide(true)
    const other = path().replace('acme/support', 'other/own')
    await edge.publish('key-other', 'other/own', 9)
    await edge.admin('PATCH', '/tenants/other/adapters/own', { may_leave: true })
    await expectRefusal(await edge.call('key-other', path()), 404, 'adapter_not_found')
    await expectRefusal(await edge.call('key-other', other), 404, 'version_not_found')
    await expectRefusal(await edge.call('key-other', `/v1/browser/files/${digest}`), 404, 'file_not_found')
    await expectRefusal(await edge.call('key-usage', path()), 403, 'insufficient_scope')
  })

  test('is decided on by the operator, not by the tenant', async () => {
    const own = '/admin/v1/tenants/acme/adapters/support'
    const init = { method: 'PATCH', body: '{"may_leave":true}' }
    await expectRefusal(await edge.call('key-acme', own, init), 401, 'invalid_admin_key')
    expect(await decide(true, 'acme/adapters/nothing')).toMatchObject({ status: 404 })
    expect(await decide(true, 'nobody/adapters/support')).toMatchObject({ status: 404 })
    expect((await edge.admin('PATCH', '/tenants/acme/adapters/support', { may_leave: 'yes' })).status).toBe(400)
  })
})
