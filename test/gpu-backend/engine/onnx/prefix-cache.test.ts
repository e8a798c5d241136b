import { describe, expect, test } from 'vitest'
import { PrefixCache } from '../../../../gpu-backend/engine/onnx/prefix-cache.ts'
import fc from '../../../support/properties.ts'

const CHUNK = 4
const BYTES_PER_TOKEN = 4
const MANY_BYTES = 1e6

/** Saves every whole chunk of `tokens`: its values are its tokens, so that one can be told from another. */
function save(cache: PrefixCache, tenant: string, digest: string | null, tokens: readonly number[]): void {
  const names = cache.names(tenant, digest, Int32Array.from(tokens))
  for (const index of names.keys()) {
    cache.save(names, index, (into = new Float32Array(CHUNK)) => {
      into.set(tokens.slice(index * CHUNK, (index + 1) * CHUNK))
      return into
    })
  }
}

function found(cache: PrefixCache, tenant: string, digest: string | null, tokens: readonly number[]): number[] {
  return cache.find(cache.names(tenant, digest, Int32Array.from(tokens))).flatMap((values) => Array.from(values))
}

const range = (length: number, from = 0) => Array.from({ length }, (_, i) => from + i)

describe('the prefix cache', () => {
  test('gives back the longest common beginning in whole chunks', () => {
    const cache = new PrefixCache(MANY_BYTES, CHUNK, BYTES_PER_TOKEN)
    save(cache, 't', 'd', range(14))
    expect(found(cache, 't', 'd', range(20))).toEqual(range(12))
    expect(found(cache, 't', 'd', range(11))).toEqual(range(8))
    expect(found(cache, 't', 'd', [...range(6), 99, 98, 97])).toEqual(range(4))
    expect(found(cache, 't', 'd', [99, ...range(12)])).toEqual([])
    expect(found(cache, 't', 'd', range(3))).toEqual([])
  })

  test('finds what the same tenant computed with the same delta, and nothing else', () => {
    const cache = new PrefixCache(MANY_BYTES, CHUNK, BYTES_PER_TOKEN)
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

  test('copies nothing that it has already, and no more of a prompt than a quarter of itself', () => {
    const cache = new PrefixCache(40 * BYTES_PER_TOKEN, CHUNK, BYTES_PER_TOKEN)
    save(cache, 't', 'd', range(40))
    expect(found(cache, 't', 'd', range(40))).toEqual(range(12))
    const names = cache.names('t', 'd', Int32Array.from(range(8)))
    cache.save(names, 1, () => expect.unreachable('it is there'))
  })

  test('keeps nothing where there is no room for a chunk', () => {
    const cache = new PrefixCache(CHUNK * BYTES_PER_TOKEN - 1, CHUNK, BYTES_PER_TOKEN)
    save(cache, 't', 'd', range(8))
    expect(found(cache, 't', 'd', range(8))).toEqual([])
  })

  test('uses the memory of what has gone again', () => {
    const cache = new PrefixCache(16 * BYTES_PER_TOKEN, CHUNK, BYTES_PER_TOKEN)
    const given: (Float32Array | Float16Array | undefined)[] = []
    const made: (Float32Array | Float16Array)[] = []
    for (const owner of range(6)) {
      cache.save(cache.names(`t${owner}`, 'd', Int32Array.from(range(4))), 0, (into) => {
        given.push(into)
        const values = into ?? new Float32Array(CHUNK)
        made.push(values)
        return values
      })
    }
    expect(given).toEqual([undefined, undefined, undefined, undefined, made[0], made[1]])
    expect(given[4]).toBe(made[0])
  })

  test('forgets a delta for every tenant, and only that delta', () => {
    const cache = new PrefixCache(MANY_BYTES, CHUNK, BYTES_PER_TOKEN)
    for (const tenant of ['t', 'u']) for (const digest of ['d', 'xd', null]) save(cache, tenant, digest, range(8))
    cache.forget('d')
    for (const tenant of ['t', 'u']) {
      expect(found(cache, tenant, 'd', range(20))).toEqual([])
      expect(found(cache, tenant, 'xd', range(20))).toEqual(range(8))
      expect(found(cache, tenant, null, range(20))).toEqual(range(8))
    }
  })

  test('lets the least recently used go when it is full, and the end of a prompt before its beginning', () => {
    const cache = new PrefixCache(64 * BYTES_PER_TOKEN, CHUNK, BYTES_PER_TOKEN)
    for (const owner of range(4)) save(cache, `t${owner}`, 'd', range(16, 100 * owner))
    found(cache, 't0', 'd', range(20))
    save(cache, 't4', 'd', range(8, 400))
    expect(found(cache, 't1', 'd', range(20, 100))).toEqual(range(8, 100))
    for (const owner of [0, 2, 3]) {
      expect(found(cache, `t${owner}`, 'd', range(20, 100 * owner))).toEqual(range(16, 100 * owner))
    }
    expect(found(cache, 't4', 'd', range(20, 400))).toEqual(range(8, 400))
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
        const cache = new PrefixCache(capacityTokens * BYTES_PER_TOKEN, CHUNK, BYTES_PER_TOKEN)
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
          expect(tokens.slice(0, prefix.length)).toEqual(prefix)
          const own = saved.filter((one) => one.owner === owner)
          const known = own.some((one) => prefix.every((id, i) => one.tokens[i] === id))
          if (prefix.length > 0) expect(known).toBe(true)
        }
      }),
    )
  })
})
