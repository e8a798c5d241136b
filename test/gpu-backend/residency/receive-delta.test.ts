import { describe, expect, test } from 'vitest'
import { receiveDelta } from '../../../gpu-backend/residency/receive-delta.ts'
import fc from '../../support/properties.ts'

async function* inPieces(bytes: Uint8Array, length: number): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < bytes.length; start += length) yield bytes.subarray(start, start + length)
}

describe('the bytes of a delta that arrive', () => {
  test('come back as they were, in memory of their own and hardly more of it, whatever pieces they came in', async () => {
    const sizes = fc.record({
      bytes: fc.nat(500_000),
      piece: fc.oneof(fc.integer({ min: 1, max: 100 }), fc.nat(400_000)),
    })
    await fc.assert(
      fc.asyncProperty(sizes, async ({ bytes, piece }) => {
        const sent = Uint8Array.from({ length: bytes }, (_, i) => i * 31)
        const blocks = await receiveDelta(inPieces(sent, piece + 1), bytes)
        expect(Buffer.concat(blocks).equals(sent)).toBe(true)
        const memory = new Set(blocks.map(({ buffer }) => buffer))
        expect(memory.has(sent.buffer)).toBe(false)
        const held = Array.from(memory, ({ byteLength }) => byteLength).reduce((sum, one) => sum + one, 0)
        expect(held).toBeLessThanOrEqual(2 * bytes + 65_536)
      }),
      { numRuns: 50, seed: 1 },
    )
  })
})
