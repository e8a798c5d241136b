// Whether this CPU multiplies unsigned by signed bytes without loss, found out by multiplying the largest ones.
// With instructions for it (VNNI) ONNX Runtime's product of u8 and i8 is exact, and on AMD's Zen 4 twice as fast as that of
// u8 and u8; on older ones (AVX2 alone) pairs of products are added in 16 bits, which they may exceed.
import { encodeModel } from '../../model/onnx-file.ts'
import { floats } from './host-arrays.ts'
import { OnnxRuntime } from './ort.ts'

/** Whole vectors of any CPU, and columns and rows that are no whole vectors, which are summed by other code. */
const DEPTH = 256
const COLUMNS = 83
/** One row alone is summed by other code than several. */
const ROW_COUNTS = [1, 7]

export function multipliesSignedBytes(): boolean {
  const runtime = new OnnxRuntime()
  try {
    return ROW_COUNTS.every((rows) => productOfLargest(runtime, rows).every((value) => value === DEPTH * 255 * 127))
  } finally {
    runtime.release()
  }
}

/** [rows, COLUMNS]: rows of DEPTH times 255, times columns of DEPTH times 127. */
function productOfLargest(runtime: OnnxRuntime, rows: number): Float32Array {
  const one = new Uint8Array(Float32Array.of(1).buffer)
  const inputs = ['left', 'right', 'one', 'one']
  const graph = encodeModel(
    {
      nodes: [{ op: 'MatMulIntegerToFloat', domain: 'com.microsoft', inputs, outputs: ['product'], attributes: {} }],
      inputs: [{ name: 'left', type: 'u8', dims: [rows, DEPTH] }],
      outputs: [{ name: 'product', type: 'f32', dims: [rows, COLUMNS] }],
      initializers: [
        // A constant, which ONNX Runtime lays out anew when it loads the graph, as it does with weights.
        { name: 'right', type: 'i8', dims: [DEPTH, COLUMNS], inline: new Uint8Array(DEPTH * COLUMNS).fill(127) },
        { name: 'one', type: 'f32', dims: [], inline: one },
      ],
    },
    '',
  )
  const session = runtime.createSession(graph, 'cpu', 1)
  const binding = session.createBinding()
  const product = floats(rows * COLUMNS)
  const [left, right] = [
    runtime.hostTensor(new Uint8Array(new ArrayBuffer(rows * DEPTH)).fill(255), 'u8', [rows, DEPTH]),
    runtime.hostTensor(product, 'f32', [rows, COLUMNS]),
  ]
  try {
    binding.input('left', left)
    binding.output('product', right)
    session.run(binding)
    return product
  } finally {
    binding.release()
    for (const value of [left, right]) value.release()
    session.release()
  }
}
