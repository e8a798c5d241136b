// Two edges as two processes over one D1 and one R2, each with memory of its own: what happens to them at once.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ADMIN_KEY, type EdgeHarness, startEdge, waitFor } from '../support/edge-harness.ts'
import { freeName } from '../support/free-name.ts'
import { ProtocolBackend } from '../support/protocol-backend.ts'
import { temporaryDir } from '../support/temporary-dir.ts'

const storage = temporaryDir()
let backend: ProtocolBackend
let edges: [EdgeHarness, EdgeHarness]

beforeAll(async () => {
  backend = await new ProtocolBackend().listen()
  const start = () => startEdge(backend.url, undefined, { storage })
  edges = [await start(), await start()]
  await edges[0].addTenant('acme', 'key-acme')
})

afterAll(async () => {
  // The one that owns the storage goes last.
  for (const edge of edges?.toReversed() ?? []) await edge.close()
  await backend?.close()
})

interface Shown {
  readonly digest: string
  readonly versions: readonly { readonly digest: string }[]
}
const show = async (edge: EdgeHarness, name: string) =>
  (await (await edge.call('key-acme', `/v1/adapters/acme/${name}`)).json()) as Shown
const ask = (edge: EdgeHarness, name: string) =>
  edge.call('key-acme', '/v1/chat/completions', {
    method: 'POST',
    body: JSON.stringify({ model: `acme/${name}`, messages: [{ role: 'user', content: 'hi' }] }),
  })

test('two versions that are published under one name at once are both kept, and both edges serve the same one', async () => {
  for (let round = 0; round < 5; round++) {
    const name = `race-${round}`
    const digests = await Promise.all(
      edges.map((edge, i) => edge.publish('key-acme', `acme/${name}`, 100 * (i + 1) + round)),
    )
    const [one, other] = await Promise.all(edges.map((edge) => show(edge, name)))
    expect(digests).toContain(one!.digest)
    expect(one!.versions.map(({ digest }) => digest).sort()).toEqual(digests.toSorted())
    expect(other).toEqual(one)
    for (const edge of edges) expect((await ask(edge, name)).headers.get('x-polylora-adapter')).toBe(one!.digest)
  }
})

test('the same bytes that are published under one name at once are one version', async () => {
  const digests = await Promise.all(edges.map((edge) => edge.publish('key-acme', 'acme/same', 400)))
  expect(digests[0]).toBe(digests[1])
  expect((await show(edges[0], 'same')).versions).toHaveLength(1)
  for (const edge of edges) expect((await ask(edge, 'same')).status).toBe(200)
})

test('of two that move a name from where both saw it, one succeeds and the other is told', async () => {
  const versions = [500, 501, 502]
  const digests: string[] = []
  for (const seed of versions) digests.push(await edges[0].publish('key-acme', 'acme/moved', seed))
  for (let round = 0; round < 5; round++) {
    const { digest: from } = await show(edges[1], 'moved')
    const targets = digests.filter((digest) => digest !== from)
    const answers = await Promise.all(
      edges.map((edge, i) => {
        const body = JSON.stringify({ digest: targets[i], from })
        return edge.call('key-acme', '/v1/adapters/acme/moved/alias', { method: 'PUT', body })
      }),
    )
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 409])
    const winner = targets[answers.findIndex(({ status }) => status === 200)]
    for (const edge of edges) expect((await show(edge, 'moved')).digest).toBe(winner)
  }
})

test('who deletes and publishes the same bytes at once is never left with a name whose bytes are gone', async () => {
  for (let round = 0; round < 12; round++) {
    const [one, other] = round % 2 === 0 ? edges : edges.toReversed()
    await one!.publish('key-acme', `acme/old-${round}`, 3000 + round)
    const [deleted, published] = await Promise.all([
      one!.call('key-acme', `/v1/adapters/acme/old-${round}`, { method: 'DELETE' }),
      other!.publish('key-acme', `acme/new-${round}`, 3000 + round).catch((error) => String(error)),
    ])
    expect(deleted.status).toBe(200)
    backend.deltas.clear()
    const answer = await ask(other!, `new-${round}`)
    // Either it was told to publish again, or it has what it published.
    if (published.includes('being_deleted')) expect(answer.status).toBe(404)
    else expect(answer.status).toBe(200)
  }
})

test('the name of a tenant that one edge has deleted is given to nobody as long as the other may take one for the other', async () => {
  const [one, other] = edges
  await one.addTenant('named', 'key-named')
  await one.publish('key-named', 'named/bot', 5000)
  const seen = () => other.call('key-named', '/v1/adapters/named/bot')
  expect((await seen()).status).toBe(200)
  expect((await one.admin('DELETE', '/tenants/named')).status).toBe(200)
  // However long the deletion took here.
  await one.db
    .prepare("UPDATE receipts SET erased_ms = ? WHERE tenant = 'named'")
    .bind(Date.now() + 60_000)
    .run()
  const early = await one.call(ADMIN_KEY, '/admin/v1/tenants', { method: 'POST', body: '{"id":"named"}' })
  expect(early.status).toBe(409)
  expect(early.headers.get('retry-after')).toBe('10')
  expect(await early.json()).toMatchObject({ error: { code: 'tenant_just_deleted' } })
  await waitFor(async () => (await seen()).status === 401)
  await freeName(one, 'named')
  expect((await one.admin('POST', '/tenants', { id: 'named' })).status).toBe(201)
})

test('a tenant that one edge deletes while another publishes for it leaves no bytes behind', async () => {
  for (let round = 0; round < 5; round++) {
    const id = `leaving-${round}`
    await edges[0].addTenant(id, `key-${id}`)
    const [deleted] = await Promise.all([
      edges[0].admin('DELETE', `/tenants/${id}`),
      edges[1].publish(`key-${id}`, `${id}/bot`, 4000 + round).catch(() => undefined),
    ])
    expect(deleted.status).toBe(200)
    const objects = new Set((await edges[0].deltas.list({ prefix: 'deltas/' })).objects.map(({ key }) => key))
    const { results } = await edges[0].db.prepare('SELECT DISTINCT digest FROM versions').all<{ digest: string }>()
    const known = new Set(results.map(({ digest }) => `deltas/${digest.replace(':', '/')}`))
    expect(objects.difference(known)).toEqual(new Set())
    expect(await edges[0].db.prepare('SELECT 1 FROM versions WHERE tenant = ?').bind(id).first()).toBeNull()
  }
})

test('an adapter that was deleted at one edge a moment ago is gone at the other, not broken', async () => {
  const digest = await edges[0].publish('key-acme', 'acme/gone', 700)
  for (const edge of edges) expect((await ask(edge, 'gone')).status).toBe(200)
  expect((await edges[0].call('key-acme', '/v1/adapters/acme/gone', { method: 'DELETE' })).status).toBe(200)
  await waitFor(async () => !backend.deltas.has(digest))
  const response = await ask(edges[1], 'gone')
  expect(response.status).toBe(404)
  expect(await response.json()).toMatchObject({ error: { code: 'model_not_found', param: 'model' } })
})
