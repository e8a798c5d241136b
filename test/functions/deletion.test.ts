import { afterEach, expect, test } from 'vitest'
import { makeDelta, waitFor } from '../support/edge-harness.ts'
import { edgeOnBackends } from '../support/edge-on-backends.ts'
import { freeName } from '../support/free-name.ts'
import { slowPut } from '../support/slow-put.ts'

const { backends, edge } = await edgeOnBackends(2)

afterEach(() => {
  for (const backend of backends) backend.deltas.clear()
})

const HOUR_MS = 3_600_000
const ask = (key: string, model: string) =>
  edge.call(key, '/v1/chat/completions', {
    method: 'POST',
    body: JSON.stringify({ model, messages: [{ role: 'user', content: 'hi' }] }),
  })
const objectKey = (digest: string) => `deltas/${digest.replace(':', '/')}`
const isStored = async (digest: string) => (await edge.deltas.head(objectKey(digest))) !== null
const remove = (key: string, name: string) => edge.call(key, `/v1/adapters/${name}`, { method: 'DELETE' })
const pending = async (digest: string) =>
  (await edge.db.prepare('SELECT * FROM erasures WHERE digest = ?').bind(digest).first()) !== null

/** While `table` cannot be found, D1 is down for whoever needs it. */
async function without<T>(table: string, work: () => Promise<T>): Promise<T> {
  await edge.db.exec(`ALTER TABLE ${table} RENAME TO hidden`)
  try {
    return await work()
  } finally {
    await edge.db.exec(`ALTER TABLE hidden RENAME TO ${table}`)
  }
}

test.each(['an adapter', 'a tenant'])('deleting %s removes the copy in the data centre’s cache', async (what) => {
  const id = `cached-${what.replace(' ', '-')}`
  await edge.addTenant(id, id)
  const digest = await edge.publish(id, `${id}/bot`, what === 'a tenant' ? 10 : 11)
  await (await ask(id, `${id}/bot`)).text()
  await waitFor(() => edge.hasCopy(digest))
  const { status } = what === 'a tenant' ? await edge.admin('DELETE', `/tenants/${id}`) : await remove(id, `${id}/bot`)
  expect(status).toBe(200)
  expect(await edge.hasCopy(digest)).toBe(false)
})

test('a tenant’s deletion that broke off shuts its keys out, and goes on to the whole receipt when repeated', async () => {
  await edge.addTenant('halfway', 'key-halfway')
  const digests = [
    await edge.publish('key-halfway', 'halfway/one', 20),
    await edge.publish('key-halfway', 'halfway/two', 21),
  ]
  const broken = await without('usage', async () => {
    // Its record cannot leave the meter, which may not be erased then.
    await (await ask('key-halfway', 'halfway/one')).text()
    return edge.admin('DELETE', '/tenants/halfway')
  })
  expect(broken.status).toBeGreaterThanOrEqual(500)
  expect((await ask('key-halfway', 'halfway/one')).status).toBe(401)
  expect((await edge.admin('GET', '/tenants/halfway')).body).toMatchObject({ deleting_ms: expect.any(Number) })

  const { status, body } = await edge.admin('DELETE', '/tenants/halfway')
  expect(status).toBe(200)
  expect(body).toMatchObject({
    deleted: true,
    keys: [expect.stringMatching(/^key_/)],
    adapters: ['halfway/one', 'halfway/two'],
    objects: digests.toSorted().map(objectKey),
  })
  for (const digest of digests) expect(await isStored(digest)).toBe(false)
  expect((await edge.admin('GET', '/tenants/halfway')).status).toBe(404)
  await waitFor(() => edge.db.prepare("SELECT 1 FROM usage WHERE tenant = 'halfway'").first())
})

test('a tenant’s deletion that broke off is finished by the sweep, and its receipt can be read later', async () => {
  await edge.addTenant('resumed', 'key-resumed')
  const digest = await edge.publish('key-resumed', 'resumed/bot', 25)
  await without('usage', async () => {
    await (await ask('key-resumed', 'resumed/bot')).text()
    expect((await edge.admin('DELETE', '/tenants/resumed')).status).toBe(503)
    // It goes on trying, and says why not.
    await edge.sweep(Date.now() + HOUR_MS)
  })
  expect(edge.logs.some((line) => line.includes('sweep_failed'))).toBe(true)
  expect((await edge.admin('GET', '/tenants/resumed/receipts')).body).toEqual({ object: 'list', data: [] })
  for (const [method, path, body] of [
    ['PATCH', '', { requests_per_minute: 1 }],
    ['POST', '/credits', { id: 'late', amount_nano: 1 }],
    ['POST', '/keys', {}],
    ['POST', '/keys/key_x/rotate', {}],
    ['PATCH', '/adapters/bot', { may_leave: true }],
  ] as const) {
    const refused = await edge.admin(method, `/tenants/resumed${path}`, body)
    expect(refused, path).toMatchObject({ status: 409, body: { error: { code: 'tenant_being_deleted' } } })
  }
  // One that has only just begun is somebody else's.
  await edge.sweep(Date.now())
  expect((await edge.admin('GET', '/tenants/resumed')).status).toBe(200)

  await edge.sweep(Date.now() + HOUR_MS)
  expect((await edge.admin('GET', '/tenants/resumed')).status).toBe(404)
  expect(await isStored(digest)).toBe(false)
  const { body } = await edge.admin('GET', '/tenants/resumed/receipts')
  expect(body).toMatchObject({
    data: [{ id: 'resumed', deleted: true, adapters: ['resumed/bot'], objects: [objectKey(digest)] }],
  })
  for (const table of ['api_keys', 'versions', 'aliases']) {
    expect(await edge.db.prepare(`SELECT 1 FROM ${table} WHERE tenant = 'resumed'`).first()).toBeNull()
  }
})

test('a receipt names what was paid and what was left of it, however often the deletion breaks off', async () => {
  await freeName(edge, 'payer')
  await edge.admin('POST', '/tenants', { id: 'payer', billing: 'prepaid', completion_price_nano: 1000 })
  await edge.addTenant('payer', 'key-payer')
  const pay = (id: string, nano: number) => edge.admin('POST', '/tenants/payer/credits', { id, amount_nano: nano })
  for (const [id, nano] of [['first', 10_000_000] as const, ['Überweisung 😀', -700] as const]) await pay(id, nano)
  await (await ask('key-payer', 'tiny-base')).text()
  // Five words.
  const money = {
    balance_nano: 10_000_000 - 700 - 5 * 1000,
    credits: [
      { id: 'first', amount_nano: 10_000_000, created_ms: expect.any(Number) },
      { id: 'Überweisung 😀', amount_nano: -700, created_ms: expect.any(Number) },
    ],
  }
  const broken = await without('receipts', () => edge.admin('DELETE', '/tenants/payer'))
  expect(broken.status).toBe(503)
  expect(await edge.admin('DELETE', '/tenants/payer')).toMatchObject({ status: 200, body: money })
  const receipts = async () => (await edge.admin('GET', '/tenants/payer/receipts')).body.data
  expect(await receipts()).toMatchObject([money])

  await freeName(edge, 'payer')
  expect((await edge.admin('POST', '/tenants', { id: 'payer' })).status).toBe(201)
  await pay('first', 5)
  expect((await edge.admin('DELETE', '/tenants/payer')).status).toBe(200)
  const next = { balance_nano: 5, credits: [{ id: 'first', amount_nano: 5 }] }
  expect(await receipts()).toMatchObject([next, money])
})

test('a tenant with more records than D1 takes at once is erased when it has them all', async () => {
  await edge.addTenant('prolific', 'key-prolific')
  const failures = () => edge.logs.filter((line) => line.includes('usage_flush_failed')).length
  await without('usage', async () => {
    for (let i = 0; i < 120; i++) await (await ask('key-prolific', 'tiny-base')).text()
    const before = failures()
    await waitFor(async () => failures() > before)
  })
  // Two seconds before the meter tries again by itself.
  expect((await edge.admin('DELETE', '/tenants/prolific')).status).toBe(200)
  const records = edge.db.prepare("SELECT COUNT(*) AS n FROM usage WHERE tenant = 'prolific'")
  expect(await records.first('n')).toBe(120)
})

test('a deletion that somebody else finishes before it has begun finds no tenant', async () => {
  await edge.addTenant('vanishing', 'key-vanishing')
  const gone = "DELETE FROM tenants WHERE id = 'vanishing'; SELECT RAISE(IGNORE)"
  await edge.db.exec(`CREATE TRIGGER finished BEFORE UPDATE OF deleting_ms ON tenants BEGIN ${gone}; END`)
  const answer = await edge.admin('DELETE', '/tenants/vanishing')
  await edge.db.exec('DROP TRIGGER finished')
  expect(answer).toMatchObject({ status: 404, body: { error: { code: 'tenant_not_found' } } })
})

test('a name that is used again has a receipt for each time that it was deleted', async () => {
  for (const _ of [1, 2]) {
    await freeName(edge, 'phoenix')
    expect((await edge.admin('POST', '/tenants', { id: 'phoenix' })).status).toBe(201)
    expect((await edge.admin('DELETE', '/tenants/phoenix')).status).toBe(200)
  }
  const { body } = await edge.admin('GET', '/tenants/phoenix/receipts')
  expect(body.data).toHaveLength(2)
})

test('a tenant with more files than one request can erase is deleted at once, and its other files by the sweep', async () => {
  await edge.addTenant('crowded', 'key-crowded')
  const digests: string[] = []
  for (let i = 0; i < 110; i++) digests.push(await edge.publish('key-crowded', `crowded/bot-${i % 3}`, 1000 + i))
  const stored = async () => (await Promise.all(digests.map(isStored))).filter(Boolean).length
  expect(await stored()).toBe(110)
  // One of those that are left: they are taken in order.
  const held = digests.toSorted().at(-1)!
  for (const backend of backends) backend.deltas.set(held, Buffer.alloc(1))
  const { status, body } = await edge.admin('DELETE', '/tenants/crowded')
  expect(status).toBe(200)
  expect([body.objects, body.objects_later].map((keys) => (keys as string[]).length)).toEqual([100, 10])
  expect([...(body.objects as string[]), ...(body.objects_later as string[])].sort()).toEqual(
    digests.map(objectKey).sort(),
  )
  expect(await stored()).toBe(10)
  expect((await edge.call('key-crowded', '/v1/adapters')).status).toBe(401)
  for (let hour = 1; hour <= 3; hour++) await edge.sweep(Date.now() + hour * HOUR_MS)
  expect(await stored()).toBe(0)
  expect(backends.some(({ deltas }) => deltas.has(held))).toBe(false)
})

test('a backend that was down at a deletion is asked again until it has erased the delta', async () => {
  await edge.addTenant('outage', 'key-outage')
  const digest = await edge.publish('key-outage', 'outage/bot', 30)
  await (await ask('key-outage', 'outage/bot')).text()
  const holder = backends.find(({ deltas }) => deltas.has(digest))!
  await holder.vanish()
  const { body } = await edge.admin('DELETE', '/tenants/outage')
  expect(body).toMatchObject({ deleted: true, backend_caches: [{ digest, evicted: 1, failed: 1 }] })
  await edge.sweep(Date.now() + HOUR_MS)
  expect(holder.deltas.has(digest)).toBe(true)
  await holder.comeBack()
  await edge.sweep(Date.now() + 2 * HOUR_MS)
  expect(holder.deltas.has(digest)).toBe(false)
  expect(await pending(digest)).toBe(false)
})

test('the bytes of an adapter whose deletion broke off are erased by the sweep', async () => {
  await edge.addTenant('orphaned', 'key-orphaned')
  const digest = await edge.publish('key-orphaned', 'orphaned/bot', 40)
  await (await ask('key-orphaned', 'orphaned/bot')).text()
  const broken = await without('deletions', () => remove('key-orphaned', 'orphaned/bot'))
  expect(broken.status).toBe(503)
  expect(await isStored(digest)).toBe(true)
  await edge.sweep(Date.now() + HOUR_MS)
  expect(await isStored(digest)).toBe(false)
  expect(backends.some(({ deltas }) => deltas.has(digest))).toBe(false)
  expect(await pending(digest)).toBe(false)
})

test('the bytes of a digest that somebody else merely claimed meanwhile are erased once nothing comes of it', async () => {
  await edge.addTenant('leaving', 'key-leaving')
  await edge.addTenant('grip', 'key-grip')
  const claimed = (digest: string) =>
    waitFor(() => edge.db.prepare("SELECT 1 FROM versions WHERE tenant = 'grip' AND digest = ?").bind(digest).first())
  const refused = await edge.publish('key-leaving', 'leaving/one', 70)
  const upload = slowPut(edge, 'key-grip', '/v1/adapters/grip/one', makeDelta(72), refused)
  const silent = await edge.publish('key-leaving', 'leaving/two', 71)
  const endless = slowPut(edge, 'key-grip', '/v1/adapters/grip/two', makeDelta(72), silent)
  for (const [name, digest] of [['one', refused] as const, ['two', silent] as const]) {
    await claimed(digest)
    expect((await remove('key-leaving', `leaving/${name}`)).status).toBe(200)
  }
  await edge.sweep(Date.now() + HOUR_MS)
  expect([await isStored(refused), await isStored(silent)]).toEqual([true, true])
  expect(await upload.finish()).toBe(422)
  await edge.sweep(Date.now() + HOUR_MS)
  expect([await isStored(refused), await isStored(silent)]).toEqual([false, true])
  await edge.sweep(Date.now() + 25 * HOUR_MS)
  await edge.sweep(Date.now() + 26 * HOUR_MS)
  expect(await isStored(silent)).toBe(false)
  await endless.finish()
})

test('the sweep leaves alone what has been published again, and what was deleted a moment ago', async () => {
  await edge.addTenant('returning', 'key-returning')
  const digest = await edge.publish('key-returning', 'returning/bot', 50)
  expect((await remove('key-returning', 'returning/bot')).status).toBe(200)
  await edge.sweep(Date.now())
  expect(await pending(digest)).toBe(true)
  await edge.publish('key-returning', 'returning/bot', 50)
  await edge.sweep(Date.now() + HOUR_MS)
  expect(await pending(digest)).toBe(false)
  expect(await isStored(digest)).toBe(true)
  expect((await ask('key-returning', 'returning/bot')).status).toBe(200)
})
