import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { PrefixCache } from '../../../../gpu-backend/engine/onnx/prefix-cache.ts'

const CHUNK = 4
const VALUES_PER_TOKEN = 2
const BYTES_PER_TOKEN = VALUES_PER_TOKEN * 4
const MANY_BYTES = 1e6

/** A snapshot whose values are its tokens, so that one can be told from another. */
function save(cache: PrefixCache, tenant: string, digest: string | null, tokens: readonly number[]): void {
  const ids = Int32Array.from(tokens)
  const worth = cache.worthSaving(tenant, digest, ids, BYTES_PER_TOKEN)
  if (worth === 0) return
  const values = Float32Array.from(
    { length: worth * VALUES_PER_TOKEN },
    (_, i) => ids[Math.floor(i / VALUES_PER_TOKEN)]!,
  )
  cache.save(tenant, digest, ids, { tokens: worth, values })
}

function found(cache: PrefixCache, tenant: string, digest: string | null, tokens: readonly number[]): number[] {
  const prefix = cache.find(tenant, digest, Int32Array.from(tokens))
  if (!prefix) return []
  const { values } = prefix.snapshot
  return Array.from({ length: prefix.tokens }, (_, i) => values[i * VALUES_PER_TOKEN]!)
}

const range = (length: number, from = 0) => Array.from({ length }, (_, i) => from + i)

describe('the prefix cache', () => {
  test('gives back the longest common beginning in whole chunks, never the whole prompt', () => {
    const cache = new PrefixCache(MANY_BYTES, CHUNK)
    save(cache, 't', 'd', range(12))
    expect(found(cache, 't', 'd', range(20))).toEqual(range(12))
    expect(found(cache, 't', 'd', range(11))).toEqual(range(8))
    expect(found(cache, 't', 'd', range(12))).toEqual(range(8))
    expect(found(cache, 't', 'd', [...range(6), 99, 98, 97])).toEqual(range(4))
    expect(found(cache, 't', 'd', [99, ...range(12)])).toEqual([])
    expect(found(cache, 't', 'd', range(4))).toEqual([])
  })

  test('finds what the same tenant computed with the same delta, and nothing else', () => {
    const cache = new PrefixCache(MANY_BYTES, CHUNK)
    save(cache, 't', 'd', range(8))
    for (const [tenant, digest] of [
      ['t', null],
      ['t', 'e'],
      ['u', 'd'],
      ['t\nd', null],
      ['"t"', 'd'],
    ] as const) {
      expect(found(cache, tenant, digest, range(20))).toEqual([])
    }
  })

  test('does not save what it has already, what is shorter than a chunk, or what would fill it', () => {
    const cache = new PrefixCache(40 * BYTES_PER_TOKEN, CHUNK)
    expect(cache.worthSaving('t', 'd', Int32Array.from(range(3)), BYTES_PER_TOKEN)).toBe(0)
    expect(cache.worthSaving('t', 'd', Int32Array.from(range(15)), BYTES_PER_TOKEN)).toBe(0)
    expect(cache.worthSaving('t', 'd', Int32Array.from(range(19)), 1)).toBe(16)
    save(cache, 't', 'd', range(8))
    expect(cache.worthSaving('t', 'd', Int32Array.from(range(8)), BYTES_PER_TOKEN)).toBe(0)
    expect(cache.worthSaving('t', 'd', Int32Array.from([...range(7), 99]), BYTES_PER_TOKEN)).toBe(8)
  })

  test('forgets a delta for every tenant, and only that delta', () => {
    const cache = new PrefixCache(MANY_BYTES, CHUNK)
    for (const tenant of ['t', 'u']) for (const digest of ['d', 'xd', null]) save(cache, tenant, digest, range(8))
    cache.forget('d')
    for (const tenant of ['t', 'u']) {
      expect(found(cache, tenant, 'd', range(20))).toEqual([])
      expect(found(cache, tenant, 'xd', range(20))).toEqual(range(8))
      expect(found(cache, tenant, null, range(20))).toEqual(range(8))
    }
  })

  test('lets the least recently used go when it is full', () => {
    const cache = new PrefixCache(64 * BYTES_PER_TOKEN, CHUNK)
    for (const owner of range(4)) save(cache, `t${owner}`, 'd', range(16, 100 * owner))
    found(cache, 't0', 'd', range(20))
    save(cache, 't4', 'd', range(16, 400))
    expect(found(cache, 't1', 'd', range(20, 100))).toEqual([])
    for (const owner of [0, 2, 3, 4]) {
      expect(found(cache, `t${owner}`, 'd', range(20, 100 * owner))).toEqual(range(16, 100 * owner))
    }
  })

  test('only ever gives back what belongs to its owner and begins the prompt', () => {
    const event = fc.record({
      save: fc.boolean(),
      tenant: fc.constantFrom('t', 'u'),
      digest: fc.constantFrom('d', 'e', null),
      tokens: fc.array(fc.nat(2), { minLength: 1, maxLength: 20 }),
    })
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), fc.integer({ min: 1, max: 60 }), (events, capacityTokens) => {
        const cache = new PrefixCache(capacityTokens * BYTES_PER_TOKEN, CHUNK)
        const saved: { owner: string; tokens: readonly number[] }[] = []
        for (const { save: saving, tenant, digest, tokens } of events) {
          const owner = JSON.stringify([tenant, digest])
          if (saving) {
            save(cache, tenant, digest, tokens)
            saved.push({ owner, tokens })
            continue
          }
          const prefix = found(cache, tenant, digest, tokens)
          expect(prefix.length % CHUNK).toBe(0)
          expect(prefix.length).toBeLessThan(tokens.length)
          expect(tokens.slice(0, prefix.length)).toEqual(prefix)
          const own = saved.filter((one) => one.owner === owner)
          const known = own.some((one) => prefix.every((id, i) => one.tokens[i] === id))
          if (prefix.length > 0) expect(known).toBe(true)
        }
      }),
    )
  })
})
