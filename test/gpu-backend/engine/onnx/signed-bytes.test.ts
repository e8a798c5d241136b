import { expect, test } from 'vitest'
import { floats } from '../../../../gpu-backend/engine/onnx/host-arrays.ts'
import { OnnxRuntime } from '../../../../gpu-backend/engine/onnx/ort.ts'
import { multipliesSignedBytes } from '../../../../gpu-backend/engine/onnx/signed-bytes.ts'
import { encodeModel } from '../../../../gpu-backend/model/onnx-file.ts'
import { seededRandom } from '../../../support/mutate.ts'

/** Rows, depth, columns: one row and many, whole vectors and not. */
const SHAPES = [
  [1, 64, 32],
  [1, 577, 49],
  [5, 96, 200],
  [32, 640, 77],
] as const

/** How ONNX Runtime multiplies `left` [rows, depth] u8 by a constant `right` [depth, columns] i8. */
function product(left: Uint8Array<ArrayBuffer>, right: Int8Array, rows: number, columns: number): Float32Array {
  const runtime = new OnnxRuntime()
  const inputs = ['left', 'right', 'one', 'one']
  const model = encodeModel(
    {
      nodes: [{ op: 'MatMulIntegerToFloat', domain: 'com.microsoft', inputs, outputs: ['product'], attributes: {} }],
      inputs: [{ name: 'left', type: 'u8', dims: [rows, left.length / rows] }],
      outputs: [{ name: 'product', type: 'f32', dims: [rows, columns] }],
      initializers: [
        { name: 'right', type: 'i8', dims: [right.length / columns, columns], inline: new Uint8Array(right.buffer) },
        { name: 'one', type: 'f32', dims: [], inline: new Uint8Array(Float32Array.of(1).buffer) },
      ],
    },
    '',
  )
  const session = runtime.createSession(model, 'cpu', 2)
  const binding = session.createBinding()
  const values = floats(rows * columns)
  const tensors = [
    runtime.hostTensor(left, 'u8', [rows, left.length / rows]),
    runtime.hostTensor(values, 'f32', [rows, columns]),
  ]
  binding.input('left', tensors[0]!)
  binding.output('product', tensors[1]!)
  session.run(binding)
  binding.release()
  for (const tensor of tensors) tensor.release()
  session.release()
  runtime.release()
  return values
}

function isExact(rows: number, depth: number, columns: number, fill: () => number): boolean {
  const left = new Uint8Array(new ArrayBuffer(rows * depth)).map(() => 255 * fill())
  const right = new Int8Array(depth * columns).map(() => 127 - 254 * fill())
  const found = product(left, right, rows, columns)
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
