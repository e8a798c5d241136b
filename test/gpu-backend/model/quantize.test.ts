import { describe, expect, test } from 'vitest'
import { quantizeBlocks, quantizeColumns, STEPS, ZERO } from '../../../gpu-backend/model/quantize.ts'
import fc from '../../support/properties.ts'

const BLOCK = 32

/** What MatMulNBits makes of the blocks: (q - middle) * scale. */
function dequantize({ values, scales }: ReturnType<typeof quantizeBlocks>, bits: 4 | 8, length: number): number[] {
  return Array.from({ length }, (_, i) => {
    const q = bits === 8 ? values[i]! : (values[i >> 1]! >> ((i & 1) * 4)) & 15
    return (q - (1 << (bits - 1))) * scales[Math.floor(i / BLOCK)]!
  })
}

const weights = fc
  .array(fc.float({ min: -100, max: 100, noNaN: true }), { minLength: BLOCK, maxLength: 3 * BLOCK })
  .map((values) => Float32Array.from(values.slice(0, Math.floor(values.length / BLOCK) * BLOCK)))

function squaredError(weight: Float32Array, back: readonly number[]): number {
  return weight.reduce((sum, value, i) => sum + (value - back[i]!) ** 2, 0)
}

describe('weights in blocks of 8 bits', () => {
  test('are off by at most half a step of their block', () => {
    fc.assert(
      fc.property(weights, (weight) => {
        const quantized = quantizeBlocks(weight, 8, BLOCK)
        const back = dequantize(quantized, 8, weight.length)
        for (const [i, value] of weight.entries()) {
          const step = quantized.scales[Math.floor(i / BLOCK)]!
          expect(Math.abs(back[i]! - value)).toBeLessThanOrEqual(step * 0.5 * (1 + 1e-5) + 1e-40)
        }
      }),
    )
  })
})

describe('weights in blocks of 4 bits', () => {
  test('are no further off than with the scale that just holds the largest value', () => {
    fc.assert(
      fc.property(weights, (weight) => {
        for (let start = 0; start < weight.length; start += BLOCK) {
          const block = weight.slice(start, start + BLOCK)
          const extreme = block.reduce((x, y) => (Math.abs(y) > Math.abs(x) ? y : x))
          const plain = Array.from(block, (value) => {
            const q = Math.round((value / extreme) * -8)
            return extreme === 0 ? 0 : (Math.max(-8, Math.min(7, q)) / -8) * extreme
          })
          const error = squaredError(block, dequantize(quantizeBlocks(block, 4, BLOCK), 4, BLOCK))
          expect(error).toBeLessThanOrEqual(squaredError(block, plain) * (1 + 1e-4) + 1e-30)
        }
      }),
    )
  })

  test('hold the even value of a pair in the low half of its byte', () => {
    const weight = new Float32Array(BLOCK)
    weight[0] = 8
    weight[1] = -4
    const { values } = quantizeBlocks(weight, 4, BLOCK)
    expect(values[0]! & 15).not.toBe(8)
    expect(dequantize(quantizeBlocks(weight, 4, BLOCK), 4, 2)).toEqual([8, -4])
  })
})

describe.each([4, 8] as const)('a block of %i bits', (bits) => {
  test('that is all zero stays so', () => {
    expect(dequantize(quantizeBlocks(new Float32Array(BLOCK), bits, BLOCK), bits, BLOCK).every((x) => x === 0)).toBe(
      true,
    )
  })
})

describe('weights in columns of 8 bits', () => {
  const shapes = fc.record({ out: fc.integer({ min: 1, max: 150 }), inSize: fc.integer({ min: 1, max: 12 }) })
  const matrices = shapes.chain(({ out, inSize }) =>
    fc.record({
      inSize: fc.constant(inSize),
      weight: fc
        .array(fc.float({ min: -100, max: 100, noNaN: true }), { minLength: out * inSize, maxLength: out * inSize })
        .map((values) => Float32Array.from(values)),
      factors: fc.option(
        fc
          .array(fc.integer({ min: -8, max: 8 }), { minLength: inSize, maxLength: inSize })
          .map((powers) => Float32Array.from(powers, (power) => 2 ** (power / 4))),
        { nil: undefined },
      ),
    }),
  )

  test('are off by at most half a step of their output, whatever the factors of the inputs', () => {
    fc.assert(
      fc.property(matrices, ({ weight, inSize, factors }) => {
        const { values, scales } = quantizeColumns(weight, inSize, factors)
        const out = weight.length / inSize
        for (const [index, value] of weight.entries()) {
          const [o, i] = [Math.floor(index / inSize), index % inSize]
          const q = values[i * out + o]! - ZERO
          expect(Math.abs(q)).toBeLessThanOrEqual(STEPS)
          const smooth = value / (factors?.[i] ?? 1)
          expect(Math.abs(q * scales[o]! - smooth)).toBeLessThanOrEqual(scales[o]! * 0.5 * (1 + 1e-4) + 1e-40)
        }
      }),
    )
  })

  test('that are all zero for an output stay so', () => {
    const { values, scales } = quantizeColumns(Float32Array.of(0, 0, 1, -1), 2, undefined)
    expect([...values]).toEqual([ZERO, ZERO + STEPS, ZERO, ZERO - STEPS])
    const signed = quantizeColumns(Float32Array.of(0, 0, 1, -1), 2, undefined, 'i8')
    expect([...new Int8Array(signed.values.buffer)]).toEqual([0, STEPS, 0, -STEPS])
    expect(scales[0]).toBe(0)
  })
})
