import { describe, expect, test } from 'vitest'
import { refilled, waitMs } from '../../functions/metering/bucket.ts'
import { chooseVersion } from '../../functions/registry/canary.ts'
import { type BackendState, chooseBackends } from '../../functions/router/choose.ts'
import fc from '../support/properties.ts'

const idle = (url: string): BackendState => ({ url, inFlight: 0, ailing: false })
const fleet = (size: number) => Array.from({ length: size }, (_, index) => idle(`https://backend-${index}.example`))
const digests = Array.from({ length: 2000 }, (_, index) => `sha256:${index}`)

describe('the choice of a backend', () => {
  test('is the same every time, whatever the order of the list', () => {
    const backends = fleet(5)
    for (const digest of digests.slice(0, 50)) {
      expect(chooseBackends(digest, backends.toReversed())).toEqual(chooseBackends(digest, backends))
    }
  })

  test('spreads digests evenly', () => {
    const backends = fleet(4)
    const counts = new Map<string, number>()
    for (const digest of digests) {
      const [first] = chooseBackends(digest, backends)
      counts.set(first!, (counts.get(first!) ?? 0) + 1)
    }
    for (const { url } of backends) {
      expect(counts.get(url)).toBeGreaterThan(digests.length / 4 / 1.3)
      expect(counts.get(url)).toBeLessThan((digests.length / 4) * 1.3)
    }
  })

  test('moves only the digests of a backend that leaves', () => {
    const backends = fleet(5)
    const gone = backends[2]!.url
    const left = backends.filter(({ url }) => url !== gone)
    for (const digest of digests) {
      const [before] = chooseBackends(digest, backends)
      const [after] = chooseBackends(digest, left)
      if (before !== gone) expect(after).toBe(before)
    }
  })

  test('leaves an ailing backend for last', () => {
    const [first, ...others] = chooseBackends('sha256:x', fleet(3))
    const ailing = fleet(3).map((backend) => (backend.url === first ? { ...backend, ailing: true } : backend))
    expect(chooseBackends('sha256:x', ailing)).toEqual([...others, first])
  })

  test('spreads an adapter to the next backend while its own is over its share', () => {
    const [first, second] = chooseBackends('sha256:hot', fleet(4))
    const loaded = fleet(4).map((backend) => (backend.url === first ? { ...backend, inFlight: 20 } : backend))
    expect(chooseBackends('sha256:hot', loaded)[0]).toBe(second)
  })

  test('always tries every backend once', () => {
    const state = fc.record({ inFlight: fc.nat(100), ailing: fc.boolean() })
    fc.assert(
      fc.property(fc.string(), fc.array(state, { minLength: 1, maxLength: 8 }), (key, states) => {
        const backends = states.map((known, index) => ({ ...known, url: `u${index}` }))
        expect(chooseBackends(key, backends).sort()).toEqual(backends.map(({ url }) => url).sort())
      }),
    )
  })
})

test('a canary of weight 0 gets nothing and one of 1000 everything', () => {
  fc.assert(
    fc.property(fc.string(), (unit) => {
      const split = { digest: 'stable', canary_digest: 'canary' }
      expect(chooseVersion({ ...split, canary_weight: 0 }, unit)).toBe('stable')
      expect(chooseVersion({ ...split, canary_weight: 1000 }, unit)).toBe('canary')
    }),
  )
})

test.each([
  ['user-1', 863],
  ['user-2', 474],
  ['müller', 506],
  ['李', 586],
  ['🦊 fox', 808],
])('the user %s is on the side of a canary that it has always been on', (unit, first) => {
  const choose = (canary_weight: number) =>
    chooseVersion({ digest: 'stable', canary_digest: 'canary', canary_weight }, unit)
  expect([choose(first - 1), choose(first)]).toEqual(['stable', 'canary'])
})

test('whatever is drawn, a bucket gives at most its capacity and a minute’s refill in a minute', () => {
  const draws = fc.array(fc.record({ afterMs: fc.nat(5_000), amount: fc.integer({ min: 1, max: 50 }) }), {
    maxLength: 60,
  })
  fc.assert(
    fc.property(draws, fc.integer({ min: 1, max: 200 }), (attempts, perMinute) => {
      let bucket = refilled(undefined, perMinute, 0)
      let [nowMs, given] = [0, 0]
      for (const { afterMs, amount } of attempts) {
        nowMs += afterMs
        bucket = refilled(bucket, perMinute, nowMs)
        if (waitMs(bucket, perMinute, amount) > 0) continue
        given += amount
        bucket = { ...bucket, level: bucket.level - amount }
      }
      expect(given).toBeLessThanOrEqual(perMinute + (perMinute * nowMs) / 60_000 + 1)
    }),
  )
})
