import { describe, expect, test } from 'vitest'
import { smoothingFactors } from '../../../../gpu-backend/engine/onnx/calibration.ts'
import fc from '../../../support/properties.ts'

describe('the smoothing of an input', () => {
  test('gives a channel of sixteen times the size a quarter of the factor', () => {
    const factors = smoothingFactors(Float32Array.of(1, 1, 1, 256))
    expect(factors[0]! / factors[3]!).toBe(4)
    expect([...factors.slice(0, 3)]).toEqual([factors[0], factors[0], factors[0]])
  })

  test('is a finite factor above zero for channels of any size, also where all are silent', () => {
    const energies = fc.array(fc.float({ min: 0, max: Math.fround(1e30), noNaN: true }), { minLength: 1 })
    fc.assert(
      fc.property(energies, (energy) => {
        for (const factor of smoothingFactors(Float32Array.from(energy))) {
          expect(factor).toBeGreaterThan(0)
          expect(factor).toBeLessThanOrEqual(10 * 2 ** (1 / 8))
        }
      }),
    )
    expect([...smoothingFactors(new Float32Array(3))]).toEqual([1, 1, 1])
  })

  test('is made of quarter steps of two, which the last bits of a sum do not change', () => {
    const channel = fc.float({ min: Math.fround(0.001), max: 1000, noNaN: true })
    fc.assert(
      fc.property(fc.array(channel, { minLength: 2 }), (energy) => {
        const steps = Array.from(smoothingFactors(Float32Array.from(energy)), (factor) => Math.log2(factor) * 4)
        for (const step of steps) expect(Math.abs(step - Math.round(step))).toBeLessThan(1e-5)
      }),
    )
  })
})
