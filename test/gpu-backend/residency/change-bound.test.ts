import { describe, expect, test } from 'vitest'
import type { DeltaModule } from '../../../adapters/delta.ts'
import { BackendError } from '../../../gpu-backend/errors.ts'
import { changeBound, checkChange } from '../../../gpu-backend/residency/change-bound.ts'
import { expectOneSentence } from '../../support/one-sentence.ts'

const module = (a: number, b: number): DeltaModule => ({
  rank: 1,
  in: 2,
  out: 2,
  a: Float32Array.of(3 * a, 4 * a),
  b: Float32Array.of(0, b),
})
const delta = (one: DeltaModule) => ({
  metadata: { base: 'sha256:1', sourceFormat: 'peft' },
  modules: new Map([['model.layers.0.mlp.up_proj', one]]),
})

describe("a delta's change", () => {
  test('is bounded by the norms of its factors', () => {
    expect(changeBound(module(1, 2))).toBeCloseTo(10)
  })

  test('is taken as any training makes it', () => {
    expect(() => checkChange(delta(module(1, 1000)))).not.toThrow()
  })

  test('that would overflow is refused in one sentence that names the module, even where each value is a number', () => {
    for (const size of [1e4, 1e18, 1e38]) {
      try {
        checkChange(delta(module(size, size / 5)))
        expect.unreachable()
      } catch (error) {
        if (!(error instanceof BackendError)) throw error
        expect(error.code).toBe('invalid_delta')
        expectOneSentence(error.message)
        expect(error.message).toContain('model.layers.0.mlp.up_proj')
      }
    }
  })
})
