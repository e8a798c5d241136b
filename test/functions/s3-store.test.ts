import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ADMIN_KEY, digestOf, type EdgeHarness, makeDelta, startEdge, waitFor } from '../support/edge-harness.ts'
import { BACKEND_SECRET, ProtocolBackend } from '../support/protocol-backend.ts'
import { type S3Store, s3rver, strictS3 } from '../support/s3-stores.ts'
import { HELD_BACK, slowPut } from '../support/slow-put.ts'

const objectKey = (digest: string) => `deltas/${digest.replace(':', '/')}`

/** The edge on a store of its own, with one tenant, for the tests around this call; there once they run. */
function edgeOn<Store extends S3Store>(start: () => Promise<Store>) {
  const setup = {} as { storage: Store; backend: ProtocolBackend; edge: EdgeHarness }
  beforeAll(async () => {
    setup.storage = await start()
    setup.backend = await new ProtocolBackend().listen()
    const secrets = { POLYLORA_BACKEND_SECRET: BACKEND_SECRET, POLYLORA_ADMIN_KEY: ADMIN_KEY }
    const settings = { ...secrets, ...setup.storage.settings }
    setup.edge = await startEdge(setup.backend.url, settings)
    await setup.edge.addTenant('acme', 'key-acme')
  })
  afterAll(async () => {
    await setup.edge?.close()
    await setup.backend?.close()
    await setup.storage?.close()
  })
  return setup
}

const ask = (edge: EdgeHarness, model: string) =>
  edge.call('key-acme', '/v1/chat/completions', {
    method: 'POST',
    body: JSON.stringify({ model, messages: [{ role: 'user', content: 'hi' }] }),
  })
const put = (edge: EdgeHarness, name: string, body: Uint8Array<ArrayBuffer>, digest: string) =>
  edge.call('key-acme', `/v1/adapters/${name}`, { method: 'PUT', headers: { 'x-polylora-digest': digest }, body })

describe.each([
  ['s3rver, which takes the payload’s hash on trust', s3rver],
  ['a store that checks the payload’s hash', strictS3],
])('with %s,', (_, start) => {
  const setup = edgeOn<S3Store>(start)

  test('an adapter is published to the store, served from it, and deleted there', async () => {
    const { storage, backend, edge } = setup
    const digest = await edge.publish('key-acme', 'acme/support')
    expect(storage.object(objectKey(digest))).toEqual(Buffer.from(makeDelta(1)))
    const response = await ask(edge, 'acme/support')
    expect(response.headers.get('x-polylora-adapter')).toBe(digest)
    expect(backend.deltas.get(digest)).toEqual(Buffer.from(makeDelta(1)))
    expect(await edge.publish('key-acme', 'acme/same', 1)).toBe(digest)
    for (const name of ['support', 'same']) {
      expect(storage.object(objectKey(digest))).toBeDefined()
      expect((await edge.call('key-acme', `/v1/adapters/acme/${name}`, { method: 'DELETE' })).status).toBe(200)
    }
    expect(storage.object(objectKey(digest))).toBeUndefined()
  })

  test('bytes that do not hash to their digest are refused', async () => {
    const { storage, edge } = setup
    const digest = digestOf(makeDelta(4))
    expect((await put(edge, 'acme/wrong', makeDelta(3), digest)).status).toBe(422)
    expect(storage.object(objectKey(digest))).toBeUndefined()
    expect((await ask(edge, 'acme/wrong')).status).toBe(404)
  })

  test('wrong bytes never replace an object that is right', async () => {
    const { storage, edge } = setup
    const digest = await edge.publish('key-acme', 'acme/right', 7)
    expect((await put(edge, 'acme/thief', makeDelta(8), digest)).status).toBe(422)
    expect(storage.object(objectKey(digest))).toEqual(Buffer.from(makeDelta(7)))
  })

  test('the operator is told which files for browsers are there, and how large', async () => {
    const { storage, edge } = setup
    const file = makeDelta(11)
    const digest = digestOf(file)
    const askFor = () => edge.call(ADMIN_KEY, `/admin/v1/browser/files/${digest}`)
    expect((await askFor()).status).toBe(404)
    const init = { method: 'PUT', body: file }
    expect((await edge.call(ADMIN_KEY, `/admin/v1/browser/files/${digest}`, init)).status).toBe(201)
    expect(await (await askFor()).json()).toEqual({ digest, bytes: file.byteLength })
    storage.remove(`browser/${digest.replace(':', '/')}`)
    expect((await askFor()).status).toBe(404)
  })

  test('an object that is missing from the store fails the request', async () => {
    const { storage, edge } = setup
    const digest = await edge.publish('key-acme', 'acme/lost', 10)
    storage.remove(objectKey(digest))
    const response = await ask(edge, 'acme/lost')
    expect(response.status).toBe(500)
    expect(await response.json()).toMatchObject({ error: { code: 'adapter_object_missing' } })
  })
})

describe('an upload', () => {
  const setup = edgeOn(strictS3)

  test('is on its way to the store before the client has sent the rest: it is never gathered', async () => {
    const { storage, edge } = setup
    const bytes = makeDelta(20)
    const upload = slowPut(edge, 'key-acme', '/v1/adapters/acme/streamed', bytes)
    const sent = bytes.byteLength - HELD_BACK
    await waitFor(async () => storage.server.receivedBytes >= sent - 32)
    expect(storage.object(objectKey(digestOf(bytes)))).toBeUndefined()
    expect(await upload.finish()).toBe(201)
    expect(storage.object(objectKey(digestOf(bytes)))).toEqual(Buffer.from(bytes))
  })

  test('of wrong bytes that is slower than the right ones leaves them be, though the store trusts its hash', async () => {
    const { storage, edge } = setup
    storage.server.lenient = true
    const right = makeDelta(21)
    const wrong = makeDelta(22)
    const received = storage.server.receivedBytes
    const upload = slowPut(edge, 'key-acme', '/v1/adapters/acme/thief', wrong, digestOf(right))
    await waitFor(async () => storage.server.receivedBytes > received)
    const digest = await edge.publish('key-acme', 'acme/owner', right)
    expect(await upload.finish()).toBe(422)
    expect(storage.object(objectKey(digest))).toEqual(Buffer.from(right))
    expect((await ask(edge, 'acme/owner')).headers.get('x-polylora-adapter')).toBe(digest)
    storage.server.lenient = false
  })

  test('that the store does not take fails, and nothing is published', async () => {
    const { storage, edge } = setup
    storage.server.full = true
    expect((await put(edge, 'acme/unlucky', makeDelta(9), digestOf(makeDelta(9)))).status).toBe(503)
    storage.server.full = false
    // For the operator: what the store has answered, not what the SDK makes of it.
    await waitFor(async () => edge.logs.some((line) => line.includes('the store answered 507')))
    expect((await ask(edge, 'acme/unlucky')).status).toBe(404)
  })

  test('and whatever else waits for a store that says nothing ends with an error', async () => {
    const { storage, edge } = setup
    storage.server.lose = () => 'silent'
    const digest = digestOf(makeDelta(23))
    const answers = await Promise.all([
      put(edge, 'acme/unheard', makeDelta(23), digest),
      edge.call('key-acme', `/v1/adapters/acme/unheard/uploads/${digest}`),
    ])
    storage.server.lose = () => undefined
    expect(answers.map(({ status }) => status)).toEqual([503, 503])
    expect((await put(edge, 'acme/unheard', makeDelta(23), digest)).status).toBe(201)
  })

  test.each(['S3_BUCKET', 'S3_ACCESS_KEY_ID', 'S3_SECRET_ACCESS_KEY'])(
    'without %s in the configuration is refused with one clear sentence',
    async (name) => {
      const { storage, backend } = setup
      const { [name]: _, ...rest } = storage.settings
      const broken = await startEdge(backend.url, { POLYLORA_BACKEND_SECRET: BACKEND_SECRET, ...rest })
      const response = await broken.call('any', '/v1/models')
      expect(response.status).toBe(500)
      expect(await response.json()).toMatchObject({
        error: { code: 'misconfigured', message: expect.stringContaining(name) },
      })
      await broken.close()
    },
  )
})
