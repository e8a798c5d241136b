import { afterAll, describe, expect, test } from 'vitest'
import { floats } from '../../../../gpu-backend/engine/onnx/host-arrays.ts'
import { OnnxRuntime } from '../../../../gpu-backend/engine/onnx/ort.ts'
import { RowSoftmax } from '../../../../gpu-backend/engine/onnx/row-softmax.ts'
import { softmax } from '../../../../gpu-backend/sampling/likelihoods.ts'
import { randomLogits } from '../../../support/random-logits.ts'

const ROWS = 9
const TEMPERATURES = [0.7, undefined, 1, 2, 1e-5, 1, undefined, 0.3, 1.5]

describe.each([64 * 40, 49_152, 1000, 7])('of a vocabulary of %i tokens', (vocabSize) => {
  const runtime = new OnnxRuntime()
  const rows = new RowSoftmax(runtime, vocabSize, 2)
  afterAll(() => {
    rows.release()
    runtime.release()
  })
  const logits = floats(ROWS * vocabSize)
  for (let row = 0; row < ROWS; row++) logits.set(randomLogits(row, vocabSize, 12), row * vocabSize)
  const ofRow = (row: number) => logits.subarray(row * vocabSize, (row + 1) * vocabSize)

  test('each row has the likelihoods of its own temperature, and none where it has none', () => {
    const found = rows.run(logits, TEMPERATURES, 'own')
    for (const [row, temperature] of TEMPERATURES.entries()) {
      if (temperature === undefined) {
        expect(found[row]).toBeUndefined()
        continue
      }
      const expected = softmax(ofRow(row), temperature)
      for (const part of ['probabilities', 'sums', 'maxima'] as const) {
        expect(found[row]![part].length).toBe(expected[part].length)
        for (const [place, value] of expected[part].entries()) expect(found[row]![part][place]).toBeCloseTo(value, 5)
      }
    }
    expect(rows.run(logits, new Array(ROWS).fill(undefined), 'own').every((one) => one === undefined)).toBe(true)
  })

  test('a row has the same bits alone and among others', () => {
    const copies = rows.run(logits, TEMPERATURES, 'own').map((one) => one && structuredClone(one))
    for (const [row, temperature] of TEMPERATURES.entries()) {
      if (temperature !== undefined) expect(rows.run(ofRow(row), [temperature], 'own')[0]).toEqual(copies[row])
    }
  })

  test('what was found for one purpose stays while it is found for the other', () => {
    const [own] = rows.run(ofRow(0), [1], 'own')
    const before = structuredClone(own)
    rows.run(ofRow(2), [2], 'constrained')
    expect(own).toEqual(before)
  })

  test('logits that are no numbers have likelihoods that are none, and those of other rows stay theirs', () => {
    const [before] = structuredClone(rows.run(ofRow(0), [1], 'own'))
    const broken = floats(2 * vocabSize).fill(Number.NaN)
    broken.set(ofRow(0))
    const [well, ill] = rows.run(broken, [1, 1], 'own')
    expect(well).toEqual(before)
    expect(ill!.sums.every(Number.isNaN)).toBe(true)
  })
})
