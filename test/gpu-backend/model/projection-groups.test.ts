import { expect, test } from 'vitest'
import { outputBlocks, projectionGroups } from '../../../gpu-backend/model/projection-groups.ts'
import fc from '../../support/properties.ts'

test('every output of a group is in one block of its projection, and all blocks are of one size', () => {
  const sizes = fc.record({
    kvHeads: fc.integer({ min: 1, max: 8 }),
    groups: fc.integer({ min: 1, max: 8 }),
    headDim: fc.constantFrom(16, 64, 80, 128),
    intermediateSize: fc.integer({ min: 1, max: 500 }),
  })
  fc.assert(
    fc.property(sizes, ({ kvHeads, groups, headDim, intermediateSize }) => {
      const config = {
        layers: 1,
        hiddenSize: 96,
        intermediateSize,
        heads: kvHeads * groups,
        kvHeads,
        headDim,
        vocabSize: 7,
      }
      for (const group of projectionGroups(config)) {
        const { size, of } = outputBlocks(group)
        expect(of.length * size).toBe(group.out)
        const outs = group.projections.map((_, i) => of.filter((projection) => projection === i).length * size)
        expect(outs).toEqual(group.projections.map(({ out }) => out))
        expect(of).toEqual(of.toSorted((x, y) => x - y))
      }
      // The fewer the better: each is a product.
      expect(outputBlocks(projectionGroups(config)[0]!).of).toHaveLength(groups + 2)
    }),
  )
})
