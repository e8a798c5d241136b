import { describe, expect, test } from 'vitest'
import type { DeltaSource, ModuleSource } from '../../adapters/delta-source.ts'
import { shrinkRank } from '../../adapters/shrink-rank.ts'
import fc from '../support/properties.ts'
import { seededRandom } from '../support/seeded-random.ts'

interface Factors {
  rank: number
  in: number
  out: number
  a: Float32Array
  b: Float32Array
}

function randomFactors(seed: number, rank: number, columns: number, out: number): Factors {
  const random = seededRandom(seed)
  const fill = (length: number) => Float32Array.from({ length }, () => random() * 2 - 1)
  return { rank, in: columns, out, a: fill(rank * columns), b: fill(out * rank) }
}

function sourceOf(...factors: Factors[]): DeltaSource {
  const modules = new Map<string, ModuleSource>()
  factors.forEach(({ a, b, ...sizes }, i) => {
    modules.set(`m${i}`, { ...sizes, scale: 1, load: async () => ({ a: a.slice(), b: b.slice() }) })
  })
  return { metadata: { base: '', sourceFormat: 'test' }, modules, notices: [] }
}

/** B·A, row-major. */
function product({ rank, in: columns, out, a, b }: Factors): Float64Array {
  const result = new Float64Array(out * columns)
  for (let row = 0; row < out; row++) {
    for (let k = 0; k < rank; k++) {
      for (let column = 0; column < columns; column++)
        result[row * columns + column]! += b[row * rank + k]! * a[k * columns + column]!
    }
  }
  return result
}

const norm = (x: Float64Array) => Math.sqrt(x.reduce((sum, value) => sum + value * value, 0))

async function shrink(factors: Factors, rank: number) {
  const shrunk = await shrinkRank(sourceOf(factors), rank)
  const module = shrunk.source.modules.get('m0')!
  const after = { rank: module.rank, in: module.in, out: module.out, ...(await module.load()) }
  const [before, approximation] = [product(factors), product(after)]
  return { ...shrunk, after, measured: norm(before.map((value, i) => value - approximation[i]!)) / (norm(before) || 1) }
}

const sizes = fc.record({
  seed: fc.integer({ min: 0, max: 1_000_000 }),
  rank: fc.integer({ min: 1, max: 12 }),
  columns: fc.integer({ min: 1, max: 24 }),
  out: fc.integer({ min: 1, max: 24 }),
  kept: fc.integer({ min: 1, max: 12 }),
})

describe('shrinkRank', () => {
  test.each([Number.NaN, Number.NEGATIVE_INFINITY])(
    'refuses %d at once, on which it would turn for minutes',
    async (value) => {
      const factors = randomFactors(1, 4, 8, 8)
      factors.b[9] = value
      await expect(shrink(factors, 2)).rejects.toMatchObject({
        code: 'malformed',
        message: /^m0 has a value that is not/,
      })
    },
  )

  test('reports the error that it causes', async () => {
    await fc.assert(
      fc.asyncProperty(sizes, async ({ seed, rank, columns, out, kept }) => {
        const { relativeError, measured } = await shrink(randomFactors(seed, rank, columns, out), kept)
        expect(measured).toBeCloseTo(relativeError, 5)
      }),
      { seed: 11, numRuns: 200 },
    )
  })

  test('loses nothing where the change has no higher rank', async () => {
    const small = randomFactors(3, 2, 20, 16)
    // The same change written with six rows: four of them repeat or are zero.
    const a = new Float32Array(6 * 20)
    const b = new Float32Array(16 * 6)
    for (let k = 0; k < 4; k++) a.set(small.a.subarray((k % 2) * 20, ((k % 2) + 1) * 20), k * 20)
    for (let row = 0; row < 16; row++) for (let k = 0; k < 4; k++) b[row * 6 + k] = small.b[row * 2 + (k % 2)]! / 2
    const { relativeError, measured, after } = await shrink({ rank: 6, in: 20, out: 16, a, b }, 2)
    expect(after.rank).toBe(2)
    expect(relativeError).toBeLessThan(1e-6)
    expect(measured).toBeLessThan(1e-6)
  })

  test('is the best approximation: no better than the singular values allow, and no worse', async () => {
    // Orthogonal rows and columns with known singular values 8, 4, 2, 1.
    const [a, b] = [new Float32Array(4 * 8), new Float32Array(8 * 4)]
    for (let k = 0; k < 4; k++) {
      a[k * 8 + 2 * k] = 1
      b[(7 - k) * 4 + k] = 2 ** (3 - k)
    }
    const { relativeError, worst } = await shrink({ rank: 4, in: 8, out: 8, a, b }, 2)
    expect(relativeError).toBeCloseTo(Math.sqrt((4 + 1) / (64 + 16 + 4 + 1)), 10)
    expect(worst.path).toBe('m0')
  })

  test('leaves modules alone that are small enough', async () => {
    const source = sourceOf(randomFactors(1, 2, 8, 8), randomFactors(2, 6, 8, 8))
    const { source: shrunk } = await shrinkRank(source, 3)
    expect(shrunk.modules.get('m0')).toBe(source.modules.get('m0'))
    expect(shrunk.modules.get('m1')!.rank).toBe(3)
    expect(shrunk.notices[0]).toContain('--shrink-rank 3 costs a relative error of')
  })

  test('tells how far it has come, module by module', async () => {
    const heard: [number, number][] = []
    const source = sourceOf(randomFactors(1, 2, 8, 8), randomFactors(2, 6, 8, 8))
    await shrinkRank(source, 3, (done, total) => heard.push([done, total]))
    expect(heard).toEqual([
      [0, 512],
      [128, 512],
      [512, 512],
    ])
  })

  test('takes a change of zero', async () => {
    const zero = { rank: 3, in: 4, out: 4, a: new Float32Array(12), b: new Float32Array(12) }
    expect(await shrink(zero, 1)).toMatchObject({ relativeError: 0, measured: 0 })
  })
})
