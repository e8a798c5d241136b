// An object storage that is down for a while: whoever needs it is told to come back, and nobody else is harmed.
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { ADMIN_KEY, digestOf, type EdgeHarness, makeDelta, startEdge } from '../support/edge-harness.ts'
import { BACKEND_SECRET, ProtocolBackend } from '../support/protocol-backend.ts'
import { S3_KEYS, type S3Server, startS3 } from '../support/s3-server.ts'

const KEY = 'key-acme'
/** Enough for a backend on a busy machine. */
const PATIENCE_MS = '1500'
let store: S3Server
let backends: readonly ProtocolBackend[]
let edge: EdgeHarness

beforeAll(async () => {
  store = await startS3()
  backends = [await new ProtocolBackend().listen(), await new ProtocolBackend().listen()]
  const secrets = { POLYLORA_BACKEND_SECRET: BACKEND_SECRET, POLYLORA_ADMIN_KEY: ADMIN_KEY }
  const s3 = { S3_ENDPOINT: store.url, S3_BUCKET: 'bucket', ...S3_KEYS }
  edge = await startEdge(
    backends.map(({ url }) => url),
    { ...secrets, ...s3, BACKEND_PATIENCE_MS: PATIENCE_MS },
  )
  await edge.addTenant('acme', KEY)
})
afterAll(async () => {
  await edge?.close()
  for (const backend of backends ?? []) await backend.close()
  await store?.close()
})
afterEach(() => {
  store.lose = () => undefined
  for (const { deltas } of backends) deltas.clear()
})

const ask = (model: string) => {
  const body = { model, messages: [{ role: 'user', content: 'hi' }] }
  return edge.call(KEY, '/v1/chat/completions', { method: 'POST', body: JSON.stringify(body) })
}
const put = (path: string, body: Uint8Array<ArrayBuffer>) =>
  edge.call(KEY, path, { method: 'PUT', headers: { 'x-polylora-digest': digestOf(body) }, body })

async function expectOutage(response: Response): Promise<void> {
  expect(response.status).toBe(503)
  expect(response.headers.get('retry-after')).toBe('1')
  expect(await response.json()).toMatchObject({ error: { type: 'server_error', code: 'storage_unavailable' } })
}

test('is a 503 for whoever publishes, uploads, deletes, or asks what no backend has', async () => {
  await edge.publish(KEY, 'acme/stored', 1)
  await edge.publish(KEY, 'acme/removed', 2)
  const fresh = makeDelta(3)
  const upload = `/v1/adapters/acme/fresh/uploads/${digestOf(fresh)}`
  store.lose = () => 'unheard'
  await expectOutage(await put('/v1/adapters/acme/fresh', fresh))
  await expectOutage(await put(`${upload}/1`, fresh))
  await expectOutage(await edge.call(KEY, upload))
  await expectOutage(await edge.call(KEY, upload, { method: 'DELETE' }))
  await expectOutage(await edge.call(KEY, '/v1/adapters/acme/removed', { method: 'DELETE' }))
  await expectOutage(await ask('acme/stored'))
  store.lose = () => undefined
  expect((await ask('acme/stored')).status).toBe(200)
  expect((await put('/v1/adapters/acme/fresh', fresh)).status).toBe(201)
})

test('that breaks off within an upload that is completed is a 503, and its parts are still there', async () => {
  const delta = makeDelta(7)
  const upload = `/v1/adapters/acme/parts/uploads/${digestOf(delta)}`
  // The first ends within what the edge looks at before it stores anything.
  for (const [i, part] of [delta.slice(0, 8), delta.slice(8)].entries()) {
    expect((await put(`${upload}/${i + 1}`, part)).status).toBe(204)
  }
  store.lose = (method) => (method === 'GET' ? 'halfway' : undefined)
  await expectOutage(await edge.call(KEY, upload, { method: 'POST' }))
  store.lose = () => undefined
  expect((await edge.call(KEY, upload, { method: 'POST' })).status).toBe(201)
})

test('that takes a delta and never says that it has it is a 503, and the delta may be published again', async () => {
  const delta = makeDelta(8)
  store.lose = (method) => (method === 'PUT' ? 'silent' : undefined)
  await expectOutage(await put('/v1/adapters/acme/taken', delta))
  store.lose = () => undefined
  expect((await put('/v1/adapters/acme/taken', delta)).status).toBe(201)
})

test('keeps nobody from an adapter that another backend has', async () => {
  const digest = await edge.publish(KEY, 'acme/spread', 4)
  store.lose = () => 'unheard'
  for (const holder of backends) {
    for (const { deltas } of backends) deltas.clear()
    holder.deltas.set(digest, Buffer.from(makeDelta(4)))
    const response = await ask('acme/spread')
    expect(response.status).toBe(200)
    expect(response.headers.get('x-polylora-adapter')).toBe(digest)
    await response.text()
  }
})

test.each(['halfway', 'stalled'] as const)('that ends %s is not laid to the charge of a backend', async (how) => {
  await edge.publish(KEY, `acme/${how}`, how === 'halfway' ? 5 : 6)
  const before = edge.logs.length
  store.lose = (method) => (method === 'GET' ? how : undefined)
  await expectOutage(await ask(`acme/${how}`))
  expect(edge.logs.slice(before).filter((line) => line.includes('"backend_unreachable"'))).toEqual([])
  store.lose = () => undefined
  expect((await ask(`acme/${how}`)).status).toBe(200)
})
