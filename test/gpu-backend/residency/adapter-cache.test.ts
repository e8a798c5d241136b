import { describe, expect, test } from 'vitest'
import { AdapterCache } from '../../../gpu-backend/residency/adapter-cache.ts'
import type { PackedDelta } from '../../../gpu-backend/residency/packed-delta.ts'
import fc from '../../support/properties.ts'

function packed(digest: string, bytes: number): PackedDelta {
  return { digest, bytes, scope: 'nothing', groups: [], embedding: undefined }
}

/** A cache over deltas whose size is in their name, like "x:40", with a record of what was read and evicted. */
function recordedCache(capacityBytes: number) {
  const [reads, evicted] = [[] as string[], [] as string[]]
  const read = async (digest: string) => {
    reads.push(digest)
    if (digest.startsWith('bad')) throw new Error(`${digest} is damaged`)
    return packed(digest, Number(digest.split(':')[1]))
  }
  const cache = new AdapterCache(capacityBytes, read, ({ digest }) => void evicted.push(digest))
  return { cache, reads, evicted }
}

describe('the adapter cache', () => {
  test('evicts the least recently used first, counted in bytes', async () => {
    const { cache, evicted } = recordedCache(100)
    for (const digest of ['a:40', 'b:40']) await cache.load(digest)
    cache.tryPin('a:40')
    cache.unpin('a:40')
    await cache.load('c:40')
    expect(evicted).toEqual(['b:40'])
    expect(cache.digests()).toEqual(['a:40', 'c:40'])
    expect(cache.stats()).toEqual({ entries: 2, bytes: 80, hits: 1, loads: 3, evictions: 1 })
  })

  test('never evicts what is pinned, and shrinks once it is unpinned', async () => {
    const { cache, evicted } = recordedCache(50)
    await cache.load('a:40')
    expect(cache.tryPin('a:40')?.digest).toBe('a:40')
    await cache.load('b:40')
    expect(evicted).toEqual([])
    expect(cache.evict('a:40')).toBe(false)
    cache.unpin('a:40')
    expect(evicted).toEqual(['a:40'])
    expect(cache.evict('b:40')).toBe(true)
    expect(cache.stats()).toMatchObject({ entries: 0, bytes: 0 })
  })

  test('keeps a delta larger than itself until whoever asked for it is done', async () => {
    const { cache, evicted } = recordedCache(10)
    await cache.load('a:40')
    expect(cache.tryPin('a:40')).toBeDefined()
    cache.unpin('a:40')
    expect(evicted).toEqual(['a:40'])
  })

  test('keeps what the next turn needs, whoever is done with a delta before, until another is named', async () => {
    const { cache, evicted } = recordedCache(40)
    await cache.load('a:40')
    for (let i = 0; i < 2; i++) cache.tryPin('a:40')
    await cache.load('b:40')
    cache.keepForNext('b:40')
    cache.unpin('a:40')
    expect(cache.has('b:40')).toBe(true)
    expect(evicted).toEqual([])
    cache.keepForNext(undefined)
    expect(evicted).toEqual(['b:40'])
    cache.unpin('a:40')
    expect(cache.digests()).toEqual(['a:40'])
  })

  test('reads a digest once however many ask for it at the same time', async () => {
    const { cache, reads } = recordedCache(100)
    await Promise.all([cache.load('a:40'), cache.load('a:40'), cache.load('a:40')])
    await cache.load('a:40')
    expect(reads).toEqual(['a:40'])
  })

  test('passes a failed read on to everybody who waits, and reads again the next time', async () => {
    const { cache, reads } = recordedCache(100)
    const results = await Promise.allSettled([cache.load('bad:1'), cache.load('bad:1')])
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
    expect(cache.isLoading('bad:1')).toBe(false)
    await expect(cache.load('bad:1')).rejects.toThrow('damaged')
    expect(reads).toHaveLength(2)
    expect(cache.stats()).toMatchObject({ entries: 0, bytes: 0, loads: 0 })
  })

  test('knows whether one more fits beside what is pinned, wanted or being read', async () => {
    const { cache } = recordedCache(100)
    expect(cache.hasRoomBeside(new Set())).toBe(true)
    for (const digest of ['a:30', 'b:30', 'c:30']) await cache.load(digest)
    expect(cache.hasRoomBeside(new Set())).toBe(true)
    cache.tryPin('a:30')
    expect(cache.hasRoomBeside(new Set(['b:30']))).toBe(true)
    expect(cache.hasRoomBeside(new Set(['b:30', 'c:30']))).toBe(false)
    const reading = cache.load('d:30')
    expect(cache.hasRoomBeside(new Set(['b:30']))).toBe(false)
    await reading
  })

  test('keeps what was touched longer', async () => {
    const { cache, evicted } = recordedCache(60)
    for (const digest of ['a:30', 'b:30']) await cache.load(digest)
    cache.touch('a:30')
    cache.touch('not here')
    await cache.load('c:30')
    expect(evicted).toEqual(['b:30'])
  })

  test('does not say that a delta is forgotten while it is still being read', async () => {
    const { cache } = recordedCache(100)
    const reading = cache.load('a:40')
    expect(cache.evict('a:40')).toBe(false)
    await reading
    expect(cache.evict('a:40')).toBe(true)
    expect(cache.has('a:40')).toBe(false)
  })

  test('refuses to unpin what is not pinned', async () => {
    const { cache } = recordedCache(100)
    await cache.load('a:40')
    expect(() => cache.unpin('a:40')).toThrow('not pinned')
    expect(() => cache.unpin('b:40')).toThrow('not pinned')
  })

  test('stays within its capacity but for what is pinned, newest or needed next, whatever is asked of it', async () => {
    const event = fc.record({
      kind: fc.constantFrom('load', 'load', 'pin', 'pin', 'unpin', 'evict', 'next'),
      digest: fc.tuple(fc.nat(5), fc.constantFrom(10, 30, 60)).map(([name, bytes]) => `${name}:${bytes}`),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(event, { maxLength: 60 }), async (events) => {
        const { cache, evicted } = recordedCache(100)
        const pins = new Map<string, number>()
        // What came last stays at least until somebody is done with a delta, what is needed next until another is needed.
        let newest: string | undefined
        let next: string | undefined
        for (const { kind, digest } of events) {
          const pinned = pins.get(digest) ?? 0
          if (kind === 'load') {
            if (!cache.has(digest)) newest = digest
            await cache.load(digest)
          } else if (kind === 'pin' && cache.tryPin(digest)) pins.set(digest, pinned + 1)
          else if (kind === 'unpin' && pinned > 0) {
            pins.set(digest, pinned - 1)
            cache.unpin(digest)
            newest = undefined
          } else if (kind === 'next') {
            if (digest !== next) newest = undefined
            next = digest
            cache.keepForNext(digest)
          } else if (kind === 'evict') expect(cache.evict(digest)).toBe(pinned === 0)
          const sizes = new Map(cache.digests().map((held) => [held, Number(held.split(':')[1])]))
          const bytes = [...sizes.values()].reduce((sum, size) => sum + size, 0)
          expect(cache.stats()).toMatchObject({ entries: sizes.size, bytes, evictions: evicted.length })
          for (const [held, count] of pins) if (count > 0) expect(cache.has(held)).toBe(true)
          const fixed = [...sizes].filter(([held]) => (pins.get(held) ?? 0) > 0 || held === newest || held === next)
          const fixedBytes = fixed.reduce((sum, [, size]) => sum + size, 0)
          expect(bytes).toBeLessThanOrEqual(Math.max(100, fixedBytes))
        }
        for (const [digest, count] of pins) for (let i = 0; i < count; i++) cache.unpin(digest)
        for (const digest of cache.digests()) cache.evict(digest)
        expect(cache.stats()).toMatchObject({ entries: 0, bytes: 0 })
      }),
      {
        examples: [
          // Over the capacity by what is pinned and what is newest, and nothing is unpinned in truth.
          [
            [
              { kind: 'load', digest: '4:60' },
              { kind: 'pin', digest: '4:60' },
              { kind: 'load', digest: '0:60' },
              { kind: 'unpin', digest: '0:10' },
            ],
          ],
        ],
      },
    )
  })
})
