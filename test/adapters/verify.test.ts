import { describe, expect, test } from 'vitest'
import type { DeltaSource, ModuleSource } from '../../adapters/delta-source.ts'
import { verifyAdapter } from '../../adapters/verify.ts'
import { tinyBase } from '../support/tiny-base.ts'

const base = tinyBase('gqa')
const LIMITS = { maxRank: 64, maxBytes: 1e6 }
const [Q0, Q1] = ['model.layers.0.self_attn.q_proj', 'model.layers.1.self_attn.q_proj']
const SIZE = 32

/** A source of q projections of which the second half, turned around, has the same A, and for B what `right` makes of the first's. */
function source(
  modules: Readonly<Record<string, (left: number, row: number) => number>>,
  size = 1,
): DeltaSource & { modules: Map<string, ModuleSource> } {
  const rank = 8
  const wave = (i: number) => size * Math.sin(i * 1.7 + 0.3)
  return {
    metadata: { base: base.fingerprint, sourceFormat: 'peft' },
    notices: [],
    modules: new Map(
      Object.entries(modules).map(([path, right]) => {
        const partner = (column: number) => Math.min(column, rank - 1 - column)
        const a = Float32Array.from({ length: rank * SIZE }, (_, i) =>
          wave(partner(Math.floor(i / SIZE)) * 97 + (i % SIZE)),
        )
        const b = Float32Array.from({ length: SIZE * rank }, (_, i) => {
          const [row, column] = [Math.floor(i / rank), i % rank]
          const left = Math.fround(wave(row * 31 + partner(column) * 7))
          return column < rank / 2 ? left : right(left, row)
        })
        return [path, { rank, in: SIZE, out: SIZE, scale: 1, load: async () => ({ a, b }) }]
      }),
    ),
  }
}

describe('an adapter is looked at before it is published', () => {
  test('a layer whose factors cancel changes nothing, as where PEFT converted one that training did not reach', async () => {
    const { layers } = await verifyAdapter(source({ [Q0]: (x) => -x, [Q1]: (x) => -0.999 * x }), base, 'f32', LIMITS)
    expect(layers.map(({ layer }) => layer)).toEqual(['0', '1'])
    expect(layers[0]!.norm).toBe(0)
    expect(layers[1]!.norm).toBeGreaterThan(0)
  })

  test('an adapter of which everything cancels is refused', async () => {
    await expect(verifyAdapter(source({ [Q0]: (x) => -x }), base, 'f32', LIMITS)).rejects.toMatchObject({
      code: 'ineffective',
    })
  })

  test('so is one whose values are all too small for the type that it is stored as', async () => {
    const tiny = source({ [Q0]: (x) => x }, 1e-9)
    expect((await verifyAdapter(tiny, base, 'f32', LIMITS)).layers[0]!.norm).toBeGreaterThan(0)
    await expect(verifyAdapter(tiny, base, 'f16', LIMITS)).rejects.toMatchObject({ code: 'ineffective' })
  })

  test('a value that is no number is refused, also among those that cancel', async () => {
    for (const wrong of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const broken = source({ [Q0]: (x, row) => (row === 5 ? wrong : -x) })
      await expect(verifyAdapter(broken, base, 'f32', LIMITS)).rejects.toMatchObject({ code: 'malformed' })
    }
  })

  test('so is an infinite one whose products are all infinite, and no zero is seen in them', async () => {
    const pair = { a: new Float32Array(SIZE).fill(1), b: new Float32Array(SIZE).fill(Number.POSITIVE_INFINITY) }
    const { metadata, notices, modules } = source({ [Q0]: (x) => x })
    modules.set(Q1, { rank: 1, in: SIZE, out: SIZE, scale: 1, load: async () => pair })
    await expect(verifyAdapter({ metadata, notices, modules }, base, 'f32', LIMITS)).rejects.toMatchObject({
      message: `${Q1} has a value that is not finite in f32; training diverged there, train the adapter again.`,
    })
  })

  test('one that is too large for f16 alone is told to be published as f32', async () => {
    const large = source({ [Q0]: (x) => x }, 100_000)
    expect((await verifyAdapter(large, base, 'f32', LIMITS)).layers[0]!.norm).toBeGreaterThan(0)
    await expect(verifyAdapter(large, base, 'f16', LIMITS)).rejects.toMatchObject({
      message: `${Q0} has a value that is not finite in f16; publish with --dtype f32.`,
    })
  })
})
