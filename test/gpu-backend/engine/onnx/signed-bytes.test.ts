import { expect, test } from 'vitest'
import { multipliesSignedBytes, signedProduct } from '../../../../gpu-backend/engine/onnx/signed-bytes.ts'
import { seededRandom } from '../../../support/seeded-random.ts'

/** Rows, depth, columns: one row and many, whole vectors and not. */
const SHAPES = [
  [1, 64, 32],
  [1, 577, 49],
  [5, 96, 200],
  [32, 640, 77],
] as const

function isExact(rows: number, depth: number, columns: number, fill: () => number): boolean {
  const left = new Uint8Array(new ArrayBuffer(rows * depth)).map(() => 255 * fill())
  const right = new Int8Array(depth * columns).map(() => 127 - 254 * fill())
  const found = signedProduct(left, right, [rows, depth, columns])
  return found.every((value, index) => {
    const [row, column] = [Math.floor(index / columns), index % columns]
    let sum = 0
    for (let i = 0; i < depth; i++) sum += left[row * depth + i]! * right[i * columns + column]!
    return value === sum
  })
}

test('signed bytes are said to be multiplied without loss where products of every size are exact', () => {
  const random = seededRandom(7)
  const shapesExact = SHAPES.map(([rows, depth, columns]) => isExact(rows, depth, columns, random))
  expect(shapesExact.every(Boolean)).toBe(multipliesSignedBytes())
})
