import { expect } from 'vitest'
import type { EdgeHarness } from './edge-harness.ts'

/** Tenants under terms, what they ask, and what is written down of it, at one edge. */
export function meteredBy(edge: EdgeHarness) {
  return {
    /** A tenant under these terms; its key is its name. */
    async tenant(id: string, terms: object = {}): Promise<string> {
      const { status } = await edge.admin('POST', '/tenants', { id, ...terms })
      expect(status).toBe(201)
      await edge.addTenant(id, id)
      return id
    },
    /** A question of at most 10 tokens to the base. */
    ask: (key: string, extra: object = {}, headers: Record<string, string> = {}) =>
      edge.call(key, '/v1/chat/completions', {
        method: 'POST',
        headers,
        body: JSON.stringify({
          ...{ model: 'tiny-base', messages: [{ role: 'user', content: 'hi' }], max_tokens: 10 },
          ...extra,
        }),
      }),
    /** The usage records of a tenant that have reached D1. */
    recordsOf: async (id: string) =>
      (await edge.db.prepare('SELECT * FROM usage WHERE tenant = ?').bind(id).all<Record<string, unknown>>()).results,
  }
}
