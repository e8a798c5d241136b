// A delta in parts, with R2 and with an S3-compatible store: what is published is the same as from one request.
import { request } from 'node:http'
import { beforeAll, describe, expect, test } from 'vitest'
import { digestOf, type EdgeHarness, makeDelta } from '../support/edge-harness.ts'
import { edgeOnStore } from '../support/edge-on-store.ts'
import { BASE_INFO } from '../support/protocol-backend.ts'

/** Any size below the edge's limit will do; parts need not be of one size. */
const PART = 100
const DAY_MS = 86_400_000

describe.each(['R2', 'S3'] as const)('an upload in parts to %s', (kind) => {
  const setup = edgeOnStore(kind, async (edge) => {
    await edge.addTenant('acme', 'key-acme')
    await edge.addTenant('acme', 'key-reader', 'inference')
    await edge.addTenant('globex', 'key-globex')
  })
  const { storedKeys, putObject } = setup
  let edge: EdgeHarness
  beforeAll(() => {
    edge = setup.edge
  })

  const path = (digest: string, rest = '') => `/v1/adapters/acme/support/uploads/${digest}${rest}`
  const split = (bytes: Uint8Array<ArrayBuffer>) =>
    Array.from({ length: Math.ceil(bytes.length / PART) }, (_, i) => bytes.slice(i * PART, (i + 1) * PART))
  const putPart = (digest: string, part: number | string, body: Uint8Array<ArrayBuffer>, declared = digestOf(body)) =>
    edge.call('key-acme', path(digest, `/${part}`), { method: 'PUT', headers: { 'x-polylora-digest': declared }, body })
  const parts = async (digest: string, key = 'key-acme') => {
    const response = await edge.call(key, path(digest).replace('acme', key.slice('key-'.length)))
    return ((await response.json()) as { parts: { part: number }[] }).parts.map(({ part }) => part)
  }
  /** As a client does that has the bucket's credentials: it says so before and after. */
  const putDirectly = async (tenant: string, digest: string, part: number, bytes: Uint8Array<ArrayBuffer>) => {
    const before = await announce(tenant, digest, { last_part: part })
    await putObject(`uploads/${tenant}/${digest.slice(7)}/${String(part).padStart(5, '0')}`, bytes)
    return [before.status, (await announce(tenant, digest, { last_part: part })).status]
  }
  const announce = (tenant: string, digest: string, body: object) => {
    const target = path(digest).replace('acme', tenant)
    return edge.call(`key-${tenant}`, target, { method: 'PUT', body: JSON.stringify(body) })
  }
  const partKeys = async (tenant: string) =>
    (await storedKeys()).filter((key) => key.startsWith(`uploads/${tenant}/`)).map((key) => Number(key.slice(-5)))
  const noted = async (digest: string) =>
    (await edge.db.prepare('SELECT 1 FROM uploads WHERE digest = ?').bind(digest).first()) !== null
  /** The status of a PUT that only says how large its body will be. */
  const declare = (target: string, bytes: number) =>
    new Promise<number | undefined>((resolve, reject) => {
      const headers = {
        authorization: 'Bearer key-acme',
        'content-length': bytes,
        'x-polylora-digest': digestOf(new Uint8Array()),
      }
      const sent = request(new URL(target, edge.url), { method: 'PUT', headers }, (response) => {
        resolve(response.statusCode)
        sent.destroy()
      })
      sent.on('error', reject)
      sent.flushHeaders()
    })
  const complete = (digest: string, query = '') => edge.call('key-acme', path(digest, query), { method: 'POST' })
  const sendAll = async (bytes: Uint8Array<ArrayBuffer>, digest = digestOf(bytes)) => {
    for (const [i, part] of split(bytes).entries()) expect((await putPart(digest, i + 1, part)).status).toBe(204)
  }

  test('publishes what one request would have published, and leaves no parts', async () => {
    const bytes = makeDelta(1)
    const digest = digestOf(bytes)
    await sendAll(bytes)
    expect(split(bytes).length).toBeGreaterThan(2)
    const response = await complete(digest)
    expect(response.status).toBe(201)
    expect(await response.json()).toMatchObject({ id: 'acme/support', digest, bytes: bytes.length, rank: 2 })
    await expect.poll(storedKeys).toEqual([`deltas/sha256/${digest.slice(7)}`])
    const answer = await edge.call('key-acme', '/v1/chat/completions', {
      method: 'POST',
      body: JSON.stringify({ model: 'acme/support', messages: [{ role: 'user', content: 'hi' }] }),
    })
    expect(answer.headers.get('x-polylora-adapter')).toBe(digest)
    expect(setup.backend.deltas.get(digest)).toEqual(Buffer.from(bytes))
  })

  test('completed by several at once is published by all of them, or refused where its parts were gone', async () => {
    for (let round = 0; round < 5; round++) {
      const bytes = makeDelta(50 + round)
      const digest = digestOf(bytes)
      await sendAll(bytes)
      const answers = await Promise.all([1, 2, 3, 4].map(() => complete(digest)))
      const statuses = answers.map(({ status }) => status)
      expect(statuses).toContain(201)
      expect(statuses.filter((status) => status !== 201 && status !== 409)).toEqual([])
      const stored = await edge.call('key-acme', `/v1/adapters/acme/support`)
      expect(await stored.json()).toMatchObject({ digest })
    }
  })

  test('that broke off says which parts it has, to its own tenant alone, and goes on', async () => {
    const bytes = makeDelta(2)
    const digest = digestOf(bytes)
    const [first, second, ...rest] = split(bytes)
    await putPart(digest, 1, first!)
    await putPart(digest, 2, second!)
    expect(await parts(digest)).toEqual([1, 2])
    expect(await parts(digest, 'key-globex')).toEqual([])
    for (const [i, part] of rest.entries()) await putPart(digest, i + 3, part)
    expect((await complete(digest)).status).toBe(201)
  })

  test('without any part, or with a part that is wrong, is refused', async () => {
    const bytes = makeDelta(3)
    const digest = digestOf(bytes)
    expect((await complete(digest)).status).toBe(409)
    const [first] = split(bytes)
    const damaged = await putPart(digest, 1, first!, digestOf(bytes))
    expect(damaged.status).toBe(422)
    expect(await damaged.json()).toMatchObject({ error: { code: 'digest_mismatch' } })
    expect(await parts(digest)).toEqual([])
    for (const part of ['0', '-1', 'x', '129', '1e2']) expect((await putPart(digest, part, first!)).status).toBe(400)
    expect(await declare(path(digest, '/1'), 16 * 1024 ** 2 + 1)).toBe(413)
    expect((await edge.call('key-reader', path(digest))).status).toBe(403)
    expect((await edge.call('key-globex', path(digest))).status).toBe(404)
  })

  test('that is complete but not what its digest says publishes nothing and starts anew', async () => {
    const digest = digestOf(makeDelta(4))
    await sendAll(makeDelta(5), digest)
    const response = await complete(digest)
    expect(response.status).toBe(422)
    expect(await response.json()).toMatchObject({ error: { code: 'digest_mismatch' } })
    expect(await parts(digest)).toEqual([])
    expect(await storedKeys()).not.toContain(`deltas/sha256/${digest.slice(7)}`)
  })

  test('of more bytes than the backends serve is refused, and its parts are gone', async () => {
    const bytes = new Uint8Array(BASE_INFO.max_delta_bytes + 1)
    const digest = digestOf(bytes)
    expect((await putPart(digest, 1, bytes)).status).toBe(204)
    const response = await complete(digest)
    expect(response.status).toBe(413)
    expect(await response.json()).toMatchObject({ error: { code: 'delta_too_large' } })
    expect(await parts(digest)).toEqual([])
    expect(await partKeys('acme')).toEqual([])
    expect(await noted(digest)).toBe(false)
    expect(await storedKeys()).not.toContain(`deltas/sha256/${digest.slice(7)}`)
  })

  test('can be given up', async () => {
    const bytes = makeDelta(6)
    const digest = digestOf(bytes)
    await sendAll(bytes)
    expect((await edge.call('key-acme', path(digest), { method: 'DELETE' })).status).toBe(204)
    expect(await parts(digest)).toEqual([])
  })

  test('that nobody goes on with is erased after a week, and not before', async () => {
    const bytes = makeDelta(9)
    const digest = digestOf(bytes)
    await sendAll(bytes)
    await edge.sweep(Date.now() + 6 * DAY_MS)
    expect((await parts(digest)).length).toBe(split(bytes).length)
    await edge.sweep(Date.now() + 8 * DAY_MS)
    expect(await parts(digest)).toEqual([])
  })

  test('goes with its tenant', async () => {
    await edge.addTenant('leaving', 'key-leaving')
    const bytes = makeDelta(10)
    const digest = digestOf(bytes)
    const part = `/v1/adapters/leaving/support/uploads/${digest}/1`
    const headers = { 'x-polylora-digest': digestOf(bytes) }
    expect((await edge.call('key-leaving', part, { method: 'PUT', headers, body: bytes })).status).toBe(204)
    expect((await storedKeys()).some((key) => key.startsWith('uploads/leaving/'))).toBe(true)
    const { status, body } = await edge.admin('DELETE', '/tenants/leaving')
    expect(status).toBe(200)
    expect(body).toMatchObject({ uploads: [digest] })
    expect((await storedKeys()).some((key) => key.startsWith('uploads/leaving/'))).toBe(false)
  })

  describe('whose parts the client puts into the bucket itself', () => {
    test('is published, and leaves no parts and no note', async () => {
      const bytes = makeDelta(20)
      const digest = digestOf(bytes)
      for (const [i, part] of split(bytes).entries()) {
        expect(await putDirectly('acme', digest, i + 1, part)).toEqual([204, 204])
      }
      expect((await complete(digest)).status).toBe(201)
      await expect.poll(() => partKeys('acme')).toEqual([])
      await expect.poll(() => noted(digest)).toBe(false)
    })

    test('is erased after a week where nobody goes on with it', async () => {
      const bytes = makeDelta(21)
      const digest = digestOf(bytes)
      await putDirectly('acme', digest, 1, bytes)
      // The client died in the middle of the third: its announcement is all that the edge has of it.
      await announce('acme', digest, { last_part: 3 })
      await putObject(`uploads/acme/${digest.slice(7)}/00003`, bytes)
      await edge.sweep(Date.now() + 6 * DAY_MS)
      expect(await partKeys('acme')).toEqual([1, 3])
      await edge.sweep(Date.now() + 8 * DAY_MS)
      expect(await partKeys('acme')).toEqual([])
      expect(await noted(digest)).toBe(false)
    })

    test('goes with its tenant, even what was on its way then', async () => {
      await edge.addTenant('direct', 'key-direct')
      const bytes = makeDelta(22)
      const digest = digestOf(bytes)
      await putDirectly('direct', digest, 1, bytes)
      await announce('direct', digest, { last_part: 2 })
      expect((await edge.admin('DELETE', '/tenants/direct')).body).toMatchObject({ uploads: [digest] })
      expect(await partKeys('direct')).toEqual([])
      await putObject(`uploads/direct/${digest.slice(7)}/00002`, bytes)
      expect((await announce('direct', digest, { last_part: 2 })).status).toBe(401)
      await edge.sweep(Date.now() + DAY_MS)
      expect(await partKeys('direct')).toEqual([])
      expect(await noted(digest)).toBe(false)
    })

    test('leaves no parts even where it never said a word', async () => {
      const bytes = makeDelta(23)
      const digest = digestOf(bytes)
      await putObject(`uploads/acme/${digest.slice(7)}/00001`, bytes.slice(0, PART))
      await putObject(`uploads/acme/${digest.slice(7)}/00002`, bytes.slice(PART))
      expect((await complete(digest)).status).toBe(201)
      await expect.poll(() => partKeys('acme')).toEqual([])
    })

    test('is for its own tenant alone, and for numbers that parts have', async () => {
      const digest = digestOf(makeDelta(24))
      for (const last_part of [0, 129, 1.5, 'x']) {
        expect((await announce('acme', digest, { last_part })).status).toBe(400)
      }
      const body = JSON.stringify({ last_part: 1 })
      expect((await edge.call('key-globex', path(digest), { method: 'PUT', body })).status).toBe(404)
      expect((await edge.call('key-reader', path(digest), { method: 'PUT', body })).status).toBe(403)
      expect(await noted(digest)).toBe(false)
    })

    test('is refused while its tenant is being deleted, with its parts', async () => {
      await edge.addTenant('ending', 'key-ending')
      const bytes = makeDelta(25)
      const digest = digestOf(bytes)
      await announce('ending', digest, { last_part: 1 })
      await edge.db.prepare('UPDATE tenants SET deleting_ms = 1 WHERE id = ?').bind('ending').run()
      expect(await putDirectly('ending', digest, 1, bytes)).toEqual([409, 409])
      expect(await partKeys('ending')).toEqual([])
    })
  })

  test('can leave the name where it points, for a canary', async () => {
    const current = await edge.publish('key-acme', 'acme/support', 7)
    const bytes = makeDelta(8)
    await sendAll(bytes)
    expect((await complete(digestOf(bytes), '?alias=keep')).status).toBe(201)
    const shown = (await (await edge.call('key-acme', '/v1/adapters/acme/support')).json()) as Record<string, unknown>
    expect(shown).toMatchObject({ digest: current })
    expect((shown.versions as { digest: string }[]).map(({ digest }) => digest)).toContain(digestOf(bytes))
  })
})
