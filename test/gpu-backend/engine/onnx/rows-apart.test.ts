import { expect, test } from 'vitest'
import { RowsApart, stackBytesPerRank } from '../../../../gpu-backend/engine/onnx/rows-apart.ts'
import type { PackedDelta } from '../../../../gpu-backend/residency/packed-delta.ts'
import fc from '../../../support/properties.ts'

const GROUPS = [
  { name: 'a', in: 8, out: 24, projections: [{ module: 'q', out: 24 }] },
  { name: 'b', in: 8, out: 8, projections: [{ module: 'o', out: 8 }] },
]

function deltaOf(ranks: readonly number[]): PackedDelta {
  const groups = ranks.map((rank) => ({ rank, a: new Float32Array(), b: new Float32Array() }))
  return { digest: ranks.join(), bytes: 0, scope: 'everything', groups, embedding: undefined }
}

const rank = fc.integer({ min: 0, max: 64 })
const delta = fc.option(fc.tuple(rank, rank).map(deltaOf))

test('what stays in the stacks fits, nothing is taken out in vain, and one delta for all rows never is', () => {
  fc.assert(
    fc.property(fc.array(delta, { minLength: 1, maxLength: 12 }), fc.integer({ min: 1, max: 60_000 }), (rows, most) => {
      const bytes = (stays: (row: number) => boolean) =>
        GROUPS.reduce((sum, group, i) => {
          const ranks = rows.map((one, row) => (stays(row) ? (one?.groups[i]?.rank ?? 0) : 0))
          return sum + rows.length * Math.max(...ranks) * stackBytesPerRank(group, 'f32')
        }, 0)
      const apart = new RowsApart(GROUPS, 'f32', most).of(rows)
      const isOne = new Set(rows.map((one) => one?.digest)).size === 1
      expect(isOne ? apart.size === 0 : bytes((row) => !apart.has(row)) <= most).toBe(true)
      const last = [...apart].at(-1)
      if (last !== undefined) expect(bytes((row) => row === last || !apart.has(row)) > most).toBe(true)
      expect([...apart].every((row) => rows[row] !== null)).toBe(true)
    }),
  )
})
