// Whether this CPU multiplies unsigned by signed bytes without loss, found out by multiplying the largest ones.
// With instructions for it (VNNI) ONNX Runtime's product of u8 and i8 is exact, and on AMD's Zen 4 twice as fast as that of
// u8 and u8; on older ones (AVX2 alone) pairs of products are added in 16 bits, which they may exceed.
import { encodeModel, MICROSOFT } from '../../model/onnx-file.ts'
import { floats } from './host-arrays.ts'
import { OnnxRuntime } from './ort.ts'

/** Whole vectors of any CPU, and columns and rows that are no whole vectors, which are summed by other code. */
const DEPTH = 256
const COLUMNS = 83
/** One row alone is summed by other code than several. */
const ROW_COUNTS = [1, 7]

/** Whether products and sums of the largest bytes come out exact. @throws OrtError */
export function multipliesSignedBytes(): boolean {
  const right = new Int8Array(DEPTH * COLUMNS).fill(127)
  return ROW_COUNTS.every((rows) => {
    const left = new Uint8Array(new ArrayBuffer(rows * DEPTH)).fill(255)
    return signedProduct(left, right, [rows, DEPTH, COLUMNS]).every((value) => value === DEPTH * 255 * 127)
  })
}

/** [rows, columns]: how this CPU multiplies `left` [rows, depth] by a constant `right` [depth, columns]. */
export function signedProduct(
  left: Uint8Array<ArrayBuffer>,
  right: Int8Array<ArrayBuffer>,
  [rows, depth, columns]: readonly [number, number, number],
): Float32Array {
  const inputs = ['left', 'right', 'one', 'one']
  const graph = encodeModel({
    nodes: [{ op: 'MatMulIntegerToFloat', domain: MICROSOFT, inputs, outputs: ['product'], attributes: {} }],
    inputs: [{ name: 'left', type: 'u8', dims: [rows, depth] }],
    outputs: [{ name: 'product', type: 'f32', dims: [rows, columns] }],
    initializers: [
      // A constant, which ONNX Runtime lays out anew when it loads the graph, as it does with weights.
      { name: 'right', type: 'i8', dims: [depth, columns], inline: new Uint8Array(right.buffer) },
      { name: 'one', type: 'f32', dims: [], inline: new Uint8Array(Float32Array.of(1).buffer) },
    ],
  })
  const runtime = new OnnxRuntime()
  const session = runtime.createSession(graph, 'cpu', 2)
  const binding = session.createBinding()
  const product = floats(rows * columns)
  try {
    binding.input('left', binding.hold(runtime.hostTensor(left, 'u8', [rows, depth])))
    binding.output('product', binding.hold(runtime.hostTensor(product, 'f32', [rows, columns])))
    session.run(binding)
    return product
  } finally {
    binding.release()
    session.release()
    runtime.release()
  }
}
