import { describe, expect, test } from 'vitest'
import { targetModules } from '../../../adapters/base-model.ts'
import type { Delta } from '../../../adapters/delta.ts'
import { type ProjectionGroup, withSmoothing } from '../../../gpu-backend/model/projection-groups.ts'
import { ZERO } from '../../../gpu-backend/model/quantize.ts'
import {
  type PackedDelta,
  type PackedGroup,
  packDelta,
  packedValues,
  viewPacked,
} from '../../../gpu-backend/residency/packed-delta.ts'
import { projectionGroupsOf } from '../../support/projection-groups.ts'
import fc from '../../support/properties.ts'
import { randomDelta } from '../../support/random-delta.ts'
import { tinyBase } from '../../support/tiny-base.ts'

const base = tinyBase('gqa')
const groups = projectionGroupsOf(base)
const paths = [...targetModules(base).keys()]

/** The same groups for a graph that rounds their inputs. */
const rounded = withSmoothing(groups, (group) => Float32Array.from({ length: group.in }, (_, i) => 2 ** (i % 3)))

function pack(delta: Delta, groups: readonly ProjectionGroup[]): PackedDelta {
  const { shape, values } = packDelta('sha256:0', delta, groups, base)
  expect(values).toHaveLength(packedValues(shape, groups, base))
  return viewPacked('sha256:0', shape, groups, base, values)
}

/** A [rank, in] of one projection, bytes turned back into what they stand for. */
function rowsOfA({ in: inSize, smoothing }: ProjectionGroup, { rank, a }: PackedGroup, projection: number) {
  const before = projection * rank
  if (a instanceof Float32Array) return a.subarray(before * inSize, (before + rank) * inSize)
  return Float32Array.from({ length: rank * inSize }, (_, cell) => {
    const [row, i] = [before + Math.floor(cell / inSize), cell % inSize]
    return (a.values[i * a.scales.length + row]! - ZERO) * a.scales[row]! * smoothing![i]!
  })
}

/** B A [out, in] of one projection of a group, from what the graph would read. */
function change(packed: PackedGroup, group: ProjectionGroup, projection: number): Float64Array {
  const { rank, b } = packed
  const a = rowsOfA(group, packed, projection)
  const { out } = group.projections[projection]!
  const start = group.projections.slice(0, projection).reduce((sum, before) => sum + before.out, 0)
  const product = new Float64Array(out * group.in)
  for (let row = 0; row < out; row++) {
    for (let k = 0; k < rank; k++) {
      const factor = b[(start + row) * rank + k]!
      for (let i = 0; i < group.in; i++) product[row * group.in + i]! += factor * a[k * group.in + i]!
    }
  }
  return product
}

/** What each projection of `groups` is changed by. */
function changes(packed: PackedDelta, groups: readonly ProjectionGroup[]) {
  return groups.flatMap((group, index) =>
    group.projections.map((projection, p) => {
      const actual = change(packed.groups[index]!, group, p)
      return { ...projection, inSize: group.in, actual }
    }),
  )
}

describe('a packed delta', () => {
  // A byte holds 127 steps to either side, and smoothing gives some channels a fourth of them.
  const layouts = [
    { name: 'in floats', groups, tolerance: 1e-6 },
    { name: 'in bytes', groups: rounded, tolerance: 0.05 },
  ]
  test.each(layouts)(
    '$name makes the same change to every module, whatever modules and ranks it has',
    ({ groups, tolerance }) => {
      const recipe = fc.record({
        seed: fc.nat(),
        ranks: fc.array(fc.constantFrom(0, 1, 2, 3, 8), { minLength: paths.length, maxLength: paths.length }),
      })
      fc.assert(
        fc.property(recipe, ({ seed, ranks }) => {
          const rank = (path: string) => ranks[paths.indexOf(path)]!
          const delta = randomDelta(base, { seed, rank, modules: (path) => rank(path) > 0 })
          const packed = pack(delta, groups)
          for (const { module, factors, inSize, actual } of changes(packed, groups)) {
            const source = delta.modules.get(module)
            const largest = actual.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
            for (let cell = 0; cell < actual.length; cell += 13) {
              const [row, column] = [Math.floor(cell / inSize), cell % inSize]
              let wanted = 0
              const factor = factors?.[row] ?? 1
              for (let k = 0; source && k < source.rank; k++) {
                wanted += source.b[row * source.rank + k]! * source.a[k * source.in + column]!
              }
              expect(Math.abs(actual[cell]! - factor * wanted)).toBeLessThan(tolerance * Math.max(1, largest))
            }
          }
          const embedding = delta.modules.get('model.embed_tokens')
          expect(packed.embedding?.rank).toBe(embedding?.rank)
          if (embedding) {
            expect(packed.embedding?.a).toEqual(embedding.a)
            expect(packed.embedding?.b).toEqual(embedding.b)
          }
        }),
        { numRuns: 15 },
      )
    },
  )

  test('brings the smoothing of what reads its up projections, and of nothing else', () => {
    const projections = rounded.flatMap((group) => group.projections)
    const scaled = projections.filter(({ factors }) => factors).map(({ module }) => module)
    expect(scaled).toEqual(paths.filter((path) => path.endsWith('up_proj')))
  })

  test('takes no room for modules that it leaves alone', () => {
    const path = 'model.layers.0.self_attn.o_proj'
    const packed = pack(randomDelta(base, { seed: 1, rank: 4, modules: (other) => other === path }), groups)
    const { in: columns, out } = targetModules(base).get(path)!
    expect(packed.bytes).toBe(4 * 4 * (columns + out))
    expect(packed.groups.filter(({ rank }) => rank > 0)).toHaveLength(1)
  })

  test('takes as much room for each of q, k and v as for that of the largest rank, since one product is of all three', () => {
    const modules = ['q_proj', 'k_proj', 'v_proj'].map((name) => `model.layers.0.self_attn.${name}`)
    const rank = (path: string) => (path === modules[2] ? 8 : 4)
    const packed = pack(
      randomDelta(base, { seed: 1, rank, modules: (path) => modules.slice(1).includes(path) }),
      groups,
    )
    const sizes = modules.map((path) => targetModules(base).get(path)!)
    expect(packed.bytes).toBe(4 * 8 * sizes.reduce((sum, { in: columns, out }) => sum + columns + out, 0))
  })

  test.each([
    ['nothing', () => false],
    ['attention', (path: string) => path === 'model.layers.1.self_attn.o_proj'],
    ['everything', (path: string) => path.endsWith('q_proj') || path === 'model.layers.0.mlp.down_proj'],
    ['everything', (path: string) => path === 'lm_head'],
    ['attention', (path: string) => path === 'model.embed_tokens'],
  ] as const)('knows that it changes %s', (scope, modules) => {
    expect(pack(randomDelta(base, { seed: 1, rank: 2, modules }), groups).scope).toBe(scope)
  })

  test('is refused when it changes a module that the engine does not have', () => {
    const delta = randomDelta(base, { seed: 1, rank: 1 })
    expect(() => packDelta('sha256:0', delta, groups.slice(1), base)).toThrow(
      /^The delta changes model\.layers\.0\.self_attn\.q_proj, which tiny-gqa does not have\.$/,
    )
  })
})
