import { expect } from 'vitest'
import type { EdgeHarness } from './edge-harness.ts'

/** A tenant with one key of all scopes, both made through the admin API. */
export async function madeTenant(edge: EdgeHarness, id: string): Promise<{ key: string; keyId: string }> {
  expect((await edge.admin('POST', '/tenants', { id })).status).toBe(201)
  const scopes = ['inference', 'adapters', 'usage']
  const { status, body } = await edge.admin('POST', `/tenants/${id}/keys`, { scopes })
  expect(status).toBe(201)
  return { key: String(body.key), keyId: String(body.id) }
}

/** A question to `model` with `key`. */
export function askEdge(edge: EdgeHarness, key: string, model: string): Promise<Response> {
  return edge.call(key, '/v1/chat/completions', {
    method: 'POST',
    body: JSON.stringify({ model, messages: [{ role: 'user', content: 'hi' }] }),
  })
}
