// Publications that break off where the bytes are stored already: nothing of them stays behind.
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { ADMIN_KEY, digestOf, type EdgeHarness, makeDelta, startEdge } from '../support/edge-harness.ts'
import { BACKEND_SECRET, ProtocolBackend } from '../support/protocol-backend.ts'
import { S3_KEYS, type S3Server, startS3 } from '../support/s3-server.ts'

const HOUR_MS = 3_600_000
let store: S3Server
let backend: ProtocolBackend
let edge: EdgeHarness

beforeAll(async () => {
  store = await startS3()
  backend = await new ProtocolBackend().listen()
  const secrets = { POLYLORA_BACKEND_SECRET: BACKEND_SECRET, POLYLORA_ADMIN_KEY: ADMIN_KEY }
  edge = await startEdge(backend.url, { ...secrets, S3_ENDPOINT: store.url, S3_BUCKET: 'bucket', ...S3_KEYS })
  await edge.addTenant('acme', 'acme')
})
afterAll(async () => {
  await edge?.close()
  await backend?.close()
  await store?.close()
})
afterEach(() => {
  store.lose = () => undefined
})

/** Publishes a delta made from `seed` as acme/bot, and returns the status. */
async function publish(seed: number): Promise<number> {
  const body = makeDelta(seed)
  const headers = { 'x-polylora-digest': digestOf(body) }
  const response = await edge.call('acme', '/v1/adapters/acme/bot', { method: 'PUT', headers, body })
  await response.arrayBuffer()
  return response.status
}
const claims = () => edge.db.prepare('SELECT COUNT(*) AS n FROM versions WHERE ready = 0').first('n')

test('bytes that the store has taken, though its answer was lost', async () => {
  store.lose = (method) => (method === 'PUT' ? 'unanswered' : undefined)
  expect(await publish(1)).toBe(503)
  expect(store.objects.size).toBe(1)
  expect(await claims()).toBe(0)
  await edge.sweep(Date.now() + HOUR_MS)
  expect([...store.objects.keys()]).toEqual([])
})

test('bytes that are stored when the registry cannot be written to', async () => {
  const fault = "BEGIN SELECT RAISE(ABORT, 'down'); END"
  await edge.db.prepare(`CREATE TRIGGER fault BEFORE INSERT ON aliases ${fault}`).run()
  expect(await publish(2)).toBe(503)
  expect(await claims()).toBe(0)
  expect([...store.objects.keys()]).toEqual([])

  // Nor can the claim be taken back.
  await edge.db.prepare(`CREATE TRIGGER worse BEFORE DELETE ON versions ${fault}`).run()
  expect(await publish(3)).toBe(503)
  expect(await claims()).toBe(1)
  await edge.db.prepare('DROP TRIGGER worse').run()
  // Its publisher may still be at it.
  await edge.sweep(Date.now() + 23 * HOUR_MS)
  expect(await claims()).toBe(1)
  for (const hours of [25, 26]) await edge.sweep(Date.now() + hours * HOUR_MS)
  expect(await claims()).toBe(0)
  expect([...store.objects.keys()]).toEqual([])
  await edge.db.prepare('DROP TRIGGER fault').run()
})

test('the same bytes, of a publication that succeeds when they are sent again', async () => {
  store.lose = (method) => (method === 'PUT' ? 'unanswered' : undefined)
  expect(await publish(4)).toBe(503)
  store.lose = () => undefined
  expect(await publish(4)).toBe(201)
  await edge.sweep(Date.now() + HOUR_MS)
  expect(store.objects.size).toBe(1)
})
