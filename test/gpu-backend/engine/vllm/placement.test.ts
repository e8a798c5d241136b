import { describe, expect, test } from 'vitest'
import { choosePlace, type Place } from '../../../../gpu-backend/engine/vllm/placement.ts'
import fc from '../../../support/properties.ts'

const LIMITS = { rows: 4, slots: 2 }
const D = Array.from({ length: 40 }, (_, i) => `sha256:${i}`)

interface Fake extends Place {
  readonly loaded: readonly string[]
}

function place(
  name: string,
  changes: { ready?: boolean; running?: number; atWork?: string[]; loaded?: string[] } = {},
): Fake {
  const { ready = true, running = 0, atWork = [], loaded = atWork } = changes
  return {
    name,
    isReady: ready,
    running,
    atWork: new Set(atWork),
    loaded,
    hasLoaded: (digest) => loaded.includes(digest),
  }
}

describe('the place of a sequence', () => {
  test('is a server that has its delta, the least busy of several', () => {
    const places = [
      place('a'),
      place('b', { running: 3, loaded: [D[0]!] }),
      place('c', { running: 2, loaded: [D[0]!] }),
    ]
    expect(choosePlace(D[0]!, places, LIMITS)?.name).toBe('c')
  })

  test('is another one where those that have its delta are full', () => {
    const places = [place('a', { running: 1 }), place('b', { running: 4, loaded: [D[0]!] })]
    expect(choosePlace(D[0]!, places, LIMITS)?.name).toBe('a')
  })

  test('for the bare base is the least busy server', () => {
    expect(choosePlace(null, [place('a', { running: 2 }), place('b', { running: 1 })], LIMITS)?.name).toBe('b')
  })

  test('is nowhere while all slots run other deltas, except for those and for the base', () => {
    const places = [place('a', { running: 2, atWork: [D[0]!, D[1]!] })]
    expect(choosePlace(D[2]!, places, LIMITS)).toBeUndefined()
    expect(choosePlace(D[1]!, places, LIMITS)?.name).toBe('a')
    expect(choosePlace(null, places, LIMITS)?.name).toBe('a')
  })

  test('of a delta that is loaded nowhere stays the same, and spreads the deltas over the servers', () => {
    const names = (places: readonly Fake[]) => D.map((digest) => choosePlace(digest, places, LIMITS)?.name)
    const three = [place('a'), place('b'), place('c')]
    const before = names(three)
    expect(names(three.toReversed())).toEqual(before)
    expect(new Set(before).size).toBe(3)
    // When one is lost, only its own deltas move.
    const after = names([place('a'), place('b', { ready: false }), place('c')])
    for (const [i, name] of before.entries()) if (name !== 'b') expect(after[i]).toBe(name)
    expect(after).not.toContain('b')
  })

  test('is never beyond the limits, nor on a server that is not ready, and there is one where there is room', () => {
    const digest = fc.constantFrom(...D.slice(0, 4))
    const server = fc.record({
      ready: fc.boolean(),
      running: fc.integer({ min: 0, max: 4 }),
      atWork: fc.uniqueArray(digest, { maxLength: 2 }),
      loaded: fc.uniqueArray(digest),
    })
    fc.assert(
      fc.property(fc.array(server, { maxLength: 4 }), fc.option(digest), (servers, wanted) => {
        const places = servers.map((one, i) => place(`s${i}`, one))
        const fits = (one: Fake) =>
          one.isReady && one.running < 4 && (wanted === null || one.atWork.has(wanted) || one.atWork.size < 2)
        const chosen = choosePlace(wanted, places, LIMITS)
        expect(chosen !== undefined).toBe(places.some(fits))
        if (chosen) expect(fits(chosen)).toBe(true)
      }),
    )
  })
})
