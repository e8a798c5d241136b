import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { digestOf, type EdgeHarness, makeDelta, startEdge } from '../support/edge-harness.ts'
import { BACKEND_SECRET, ProtocolBackend } from '../support/protocol-backend.ts'
import { S3_KEYS, type S3Server, startS3 } from '../support/s3-server.ts'

let storage: S3Server
let backend: ProtocolBackend
let edge: EdgeHarness

const settings = () => ({
  POLYLORA_BACKEND_SECRET: BACKEND_SECRET,
  S3_ENDPOINT: storage.url,
  S3_BUCKET: 'bucket',
  S3_REGION: 'eu-central-1',
  ...S3_KEYS,
})

beforeAll(async () => {
  storage = await startS3()
  backend = await new ProtocolBackend().listen()
  edge = await startEdge(backend.url, settings())
  await edge.addTenant('acme', 'key-acme')
})

afterAll(async () => {
  await edge?.close()
  await backend?.close()
  await storage?.close()
})

beforeEach(() => {
  Object.assign(storage, { lenient: false, full: false })
})

const objectPath = (digest: string) => `/bucket/deltas/${digest.replace(':', '/')}`
const ask = (model: string) =>
  edge.call('key-acme', '/v1/chat/completions', {
    method: 'POST',
    body: JSON.stringify({ model, messages: [{ role: 'user', content: 'hi' }] }),
  })
const put = (name: string, body: Uint8Array<ArrayBuffer>, digest: string) =>
  edge.call('key-acme', `/v1/adapters/${name}`, { method: 'PUT', headers: { 'x-polylora-digest': digest }, body })

test('an adapter is published to the store, served from it, and deleted there', async () => {
  const digest = await edge.publish('key-acme', 'acme/support')
  expect(storage.objects.get(objectPath(digest))).toEqual(Buffer.from(makeDelta(1)))
  const response = await ask('acme/support')
  expect(response.headers.get('x-polylora-adapter')).toBe(digest)
  expect(backend.deltas.get(digest)).toEqual(Buffer.from(makeDelta(1)))
  expect(await edge.publish('key-acme', 'acme/same', 1)).toBe(digest)
  for (const name of ['support', 'same']) {
    expect(storage.objects.has(objectPath(digest))).toBe(true)
    expect((await edge.call('key-acme', `/v1/adapters/acme/${name}`, { method: 'DELETE' })).status).toBe(200)
  }
  expect(storage.objects.has(objectPath(digest))).toBe(false)
})

test.each([
  ['checks', false],
  ['does not check', true],
])('bytes that do not hash to their digest are refused with a store that %s', async (_, lenient) => {
  storage.lenient = lenient
  const digest = digestOf(makeDelta(4))
  expect((await put('acme/wrong', makeDelta(3), digest)).status).toBe(422)
  expect(storage.objects.has(objectPath(digest))).toBe(false)
  expect((await ask('acme/wrong')).status).toBe(404)
})

test('wrong bytes never replace an object that is right', async () => {
  const digest = await edge.publish('key-acme', 'acme/right', 7)
  for (storage.lenient of [false, true]) expect((await put('acme/thief', makeDelta(8), digest)).status).toBe(422)
  expect(storage.objects.get(objectPath(digest))).toEqual(Buffer.from(makeDelta(7)))
})

test('a store that takes nothing makes the publishing fail, and nothing is published', async () => {
  storage.full = true
  expect((await put('acme/unlucky', makeDelta(9), digestOf(makeDelta(9)))).status).toBe(500)
  expect((await ask('acme/unlucky')).status).toBe(404)
})

test('an object that is missing from the store fails the request', async () => {
  const digest = await edge.publish('key-acme', 'acme/lost', 10)
  storage.objects.delete(objectPath(digest))
  const response = await ask('acme/lost')
  expect(response.status).toBe(500)
  expect(await response.json()).toMatchObject({ error: { code: 'adapter_object_missing' } })
})

test.each(['S3_BUCKET', 'S3_ACCESS_KEY_ID', 'S3_SECRET_ACCESS_KEY'])(
  'a missing %s is one clear sentence',
  async (name) => {
    const { [name]: _, ...rest } = settings() as Record<string, string>
    const broken = await startEdge(backend.url, rest)
    const response = await broken.call('any', '/v1/models')
    expect(response.status).toBe(500)
    expect(await response.json()).toMatchObject({
      error: { code: 'misconfigured', message: expect.stringContaining(name) },
    })
    await broken.close()
  },
)
