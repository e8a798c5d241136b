// A tenant's keys at the admin API: made, shown once, rotated, revoked.
import { describe, expect, test } from 'vitest'
import { edgeOnBackends } from '../support/edge-on-backends.ts'
import { askEdge, madeTenant } from '../support/made-tenant.ts'

const { edge } = await edgeOnBackends()

const ask = (key: string, model: string) => askEdge(edge, key, model)
const tenant = (id: string) => madeTenant(edge, id)

describe('the operator', () => {
  test('shows a key once and stores only its hash', async () => {
    const { key, keyId } = await tenant('keyed')
    expect(key).toMatch(/^pl-[\w-]{32}$/)
    const listed = JSON.stringify((await edge.admin('GET', '/tenants/keyed/keys')).body)
    expect(listed).toContain(keyId)
    expect(listed).toContain(key.slice(0, 10))
    expect(listed).not.toContain(key)
    const row = await edge.db.prepare('SELECT * FROM api_keys WHERE id = ?').bind(keyId).first()
    expect(JSON.stringify(row)).not.toContain(key)
  })

  test('revokes a key, and rotates one with or without overlap', async () => {
    const { key, keyId } = await tenant('rotating')
    expect((await ask(key, 'tiny-base')).status).toBe(200)
    const overlapping = await edge.admin('POST', `/tenants/rotating/keys/${keyId}/rotate`, { overlap_seconds: 60 })
    expect(overlapping.body).toMatchObject({ replaces: keyId, scopes: ['inference', 'adapters', 'usage'] })
    const second = String(overlapping.body.key)
    for (const valid of [key, second]) expect((await ask(valid, 'tiny-base')).status).toBe(200)

    const third = await edge.admin('POST', `/tenants/rotating/keys/${overlapping.body.id}/rotate`, {})
    expect((await ask(second, 'tiny-base')).status).toBe(401)
    expect((await ask(String(third.body.key), 'tiny-base')).status).toBe(200)
    expect((await edge.admin('DELETE', `/tenants/rotating/keys/${third.body.id}`)).status).toBe(204)
    expect((await ask(String(third.body.key), 'tiny-base')).status).toBe(401)
    expect((await edge.admin('DELETE', '/tenants/rotating/keys/key_none')).status).toBe(404)
  })

  test('makes and rotates a key without a body as with an empty object', async () => {
    await tenant('bodiless')
    const made = await edge.admin('POST', '/tenants/bodiless/keys')
    expect(made).toMatchObject({ status: 201, body: { scopes: ['inference'], expires_ms: null } })
    const rotated = await edge.admin('POST', `/tenants/bodiless/keys/${made.body.id}/rotate`)
    expect(rotated).toMatchObject({ status: 201, body: { replaces: made.body.id } })
    expect((await ask(String(made.body.key), 'tiny-base')).status).toBe(401)
    expect((await ask(String(rotated.body.key), 'tiny-base')).status).toBe(200)
    expect(await edge.admin('POST', '/tenants')).toMatchObject({
      status: 400,
      body: { error: { code: 'invalid_json' } },
    })
  })

  test.each([
    { overlap_seconds: 0, kept: 401 },
    { overlap_seconds: 3600, kept: 200 },
  ])('rotates a key once, whatever the overlap: $overlap_seconds', async ({ overlap_seconds, kept }) => {
    const id = `rotated-${overlap_seconds}`
    const { key, keyId } = await tenant(id)
    const rotate = () => edge.admin('POST', `/tenants/${id}/keys/${keyId}/rotate`, { overlap_seconds })
    const answers = await Promise.all([rotate(), rotate()])
    const [made, refused] = answers.toSorted((x, y) => x.status - y.status)
    expect(made).toMatchObject({ status: 201, body: { replaces: keyId, expires_ms: null } })
    expect(refused).toMatchObject({ status: 409, body: { error: { code: 'key_ended' } } })
    expect((await rotate()).status).toBe(409)
    expect((await ask(String(made?.body.key), 'tiny-base')).status).toBe(200)
    expect((await ask(key, 'tiny-base')).status).toBe(kept)
    expect((await edge.admin('GET', `/tenants/${id}/keys`)).body.data).toHaveLength(2)
  })

  test('makes no key in the place of one that has expired or was revoked', async () => {
    await tenant('late')
    const create = async (body: object) => (await edge.admin('POST', '/tenants/late/keys', body)).body.id
    const rotate = (id: unknown) => edge.admin('POST', `/tenants/late/keys/${id}/rotate`, {})
    const expired = await create({ expires_ms: Date.now() - 1 })
    expect(await rotate(expired)).toMatchObject({ status: 409, body: { error: { code: 'key_ended' } } })
    const revoked = await create({})
    await edge.admin('DELETE', `/tenants/late/keys/${revoked}`)
    expect((await rotate(revoked)).status).toBe(404)
    expect((await rotate('key_none')).status).toBe(404)
    expect((await edge.admin('GET', '/tenants/late/keys')).body.data).toHaveLength(3)
  })

  test('leaves the old key as it was where the database fails in the middle of a rotation', async () => {
    const { key, keyId } = await tenant('unrotated')
    await edge.db
      .prepare(
        `CREATE TRIGGER no_update BEFORE UPDATE ON api_keys WHEN OLD.tenant = 'unrotated' BEGIN SELECT RAISE(ABORT, 'full'); END`,
      )
      .run()
    expect((await edge.admin('POST', `/tenants/unrotated/keys/${keyId}/rotate`, {})).status).toBe(503)
    expect((await edge.admin('GET', '/tenants/unrotated/keys')).body.data).toHaveLength(1)
    expect((await ask(key, 'tiny-base')).status).toBe(200)
    await edge.db.prepare('DROP TRIGGER no_update').run()
    expect((await edge.admin('POST', `/tenants/unrotated/keys/${keyId}/rotate`, {})).status).toBe(201)
  })

  test('gives neither key a longer life by a rotation, whatever the overlap', async () => {
    await tenant('limited')
    const expires_ms = Date.now() + 60_000
    const { body: old } = await edge.admin('POST', '/tenants/limited/keys', { expires_ms })
    const rotated = await edge.admin('POST', `/tenants/limited/keys/${old.id}/rotate`, { overlap_seconds: 3600 })
    expect(rotated).toMatchObject({ status: 201, body: { expires_ms } })
    const keys = (await edge.admin('GET', '/tenants/limited/keys')).body.data as { id: string; expires_ms: number }[]
    const expiryOf = (id: unknown) => keys.find((key) => key.id === id)?.expires_ms
    expect([expiryOf(old.id), expiryOf(rotated.body.id)]).toEqual([expires_ms, expires_ms])
  })

  test('lets no key outlive its expiry', async () => {
    await edge.admin('POST', '/tenants', { id: 'expiring' })
    const past = await edge.admin('POST', '/tenants/expiring/keys', { expires_ms: Date.now() - 1 })
    expect((await ask(String(past.body.key), 'tiny-base')).status).toBe(401)
  })
})
