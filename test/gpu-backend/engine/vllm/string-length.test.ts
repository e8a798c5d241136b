import { expect, test } from 'vitest'
import { lengthPattern } from '../../../../gpu-backend/engine/vllm/string-length.ts'
import fc from '../../../support/properties.ts'

const length = fc.integer({ min: 0, max: 450 })

test('a pattern takes strings of its lengths, whatever their characters, and of no others', () => {
  fc.assert(
    fc.property(length, fc.option(length, { nil: undefined }), length, fc.constantFrom('a', 'é', '😀'), (...drawn) => {
      const [least, more, count, character] = drawn
      const most = more === undefined ? undefined : least + more
      const pattern = new RegExp(lengthPattern(least, most), 'u')
      const edges = [count, least - 1, least, ...(most === undefined ? [] : [most, most + 1])]
      for (const edge of edges.filter((one) => one >= 0)) {
        expect(pattern.test(character.repeat(edge))).toBe(edge >= least && edge <= (most ?? edge))
      }
    }),
    { seed: 1, numRuns: 300 },
  )
})

test.each(['\t', '\u0000', '\u001f', '"', '\\', '\ud800'])(
  'no pattern takes %j, which JSON writes with an escape or cannot write',
  (character) => {
    for (const most of [3, 200, undefined]) {
      expect(new RegExp(lengthPattern(0, most), 'u').test(`a${character}b`)).toBe(false)
    }
  },
)
