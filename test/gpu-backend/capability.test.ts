import { describe, expect, test } from 'vitest'
import { type Capability, importCapabilityKey, mintCapability, verifyCapability } from '../../gpu-backend/capability.ts'
import { expectOneSentence } from '../support/one-sentence.ts'
import fc from '../support/properties.ts'

const NOW_MS = 1_000_000
const key = await importCapabilityKey('k'.repeat(32))
const capability: Capability = {
  work: 'generate',
  tenant: 'acme',
  delta: `sha256:${'a'.repeat(64)}`,
  request_id: 'request-1',
  expires_ms: NOW_MS + 1000,
  limits: { max_tokens: 100, max_delta_bytes: 1000 },
}
const token = await mintCapability(key, capability)

/** A token over any text, rightly signed. */
async function signed(payload: string): Promise<string> {
  const encoded = Buffer.from(payload).toString('base64url')
  const signature = await crypto.subtle.sign('HMAC', key, new TextEncoder().encode(encoded))
  return `${encoded}.${Buffer.from(signature).toString('base64url')}`
}

describe('a capability token', () => {
  test('gives back what was minted, in any script', async () => {
    expect(await verifyCapability(key, token, NOW_MS)).toEqual(capability)
    const other = { ...capability, tenant: 'Bäckerei 漢字 🙂', delta: null }
    expect(await verifyCapability(key, await mintCapability(key, other), NOW_MS)).toEqual(other)
  })

  test('is worth nothing from the millisecond on in which it expires', async () => {
    expect(await verifyCapability(key, token, capability.expires_ms - 1)).toBeDefined()
    expect(await verifyCapability(key, token, capability.expires_ms)).toBeUndefined()
  })

  test('is worth nothing under another key', async () => {
    expect(await verifyCapability(await importCapabilityKey('l'.repeat(32)), token, NOW_MS)).toBeUndefined()
  })

  test('is worth nothing when a single character of it is changed', async () => {
    for (let i = 0; i < token.length; i++) {
      // The last character of base64url holds bits that are not used: those alone may change.
      if (i === token.length - 1) continue
      const changed = token.slice(0, i) + (token[i] === 'A' ? 'B' : 'A') + token.slice(i + 1)
      expect(await verifyCapability(key, changed, NOW_MS)).toBeUndefined()
    }
  })

  test('of any other form is refused without an exception', async () => {
    const forms = ['', '.', '..', 'a', 'a.b', `${token}.`, `${token}.x`, `.${token}`, ` ${token}`, `${token}=`]
    for (const form of forms) expect(await verifyCapability(key, form, NOW_MS)).toBeUndefined()
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'binary', maxLength: 80 }), async (text) => {
        expect(await verifyCapability(key, text, NOW_MS)).toBeUndefined()
        expect(await verifyCapability(key, text.replace('', '.'), NOW_MS)).toBeUndefined()
      }),
    )
    expect(await verifyCapability(key, `${'a'.repeat(5000)}.b`, NOW_MS)).toBeUndefined()
  })

  test('that is rightly signed but says something else is refused', async () => {
    const { tenant: _, ...noTenant } = capability
    const contents = [
      'null',
      '[]',
      '{}',
      'not JSON',
      JSON.stringify(noTenant),
      JSON.stringify({ ...capability, more: 1 }),
      JSON.stringify({ ...capability, work: 'anything' }),
      JSON.stringify({ ...capability, delta: 'sha256:short' }),
      JSON.stringify({ ...capability, expires_ms: '2999' }),
    ]
    for (const content of contents) expect(await verifyCapability(key, await signed(content), NOW_MS)).toBeUndefined()
    expect(await verifyCapability(key, await signed(JSON.stringify(capability)), NOW_MS)).toEqual(capability)
  })

  test('needs a secret of at least 32 characters', async () => {
    const error = await importCapabilityKey('short').catch((reason: Error) => reason)
    expectOneSentence((error as Error).message)
    expect((error as Error).message).toContain('POLYLORA_BACKEND_SECRET')
    expect((error as Error).message).not.toContain('short')
  })
})
