// Whether a device's attention is right for long pieces of a prompt, found out by comparing it with the CPU's.
// On SwiftShader, a driver in software, ONNX Runtime 1.30's WebGPU attention gives wrong values from 32 tokens on.
import { ATTENTION } from '../../model/attention.ts'
import { encodeModel, MICROSOFT } from '../../model/onnx-file.ts'
import type { ModelDimensions } from '../../model/projection-groups.ts'
import type { FloatType } from '../../model/weight-formats.ts'
import { floatArray } from './float-array.ts'
import { ints } from './host-arrays.ts'
import type { Device, OnnxRuntime } from './ort.ts'

type Heads = Pick<ModelDimensions, 'heads' | 'kvHeads' | 'headDim'>

/** Values are averages of numbers between -1 and 1; wrong ones are off by about as much, 16-bit floats by 1e-3. */
const TOLERANCE = 0.02
/** The first has nothing before it, the second reads the first from the cache. */
const PIECES = 2

/** Whether `device` computes pieces of `tokens` tokens as the CPU does, with heads as in `config`. */
export function computesPieces(
  runtime: OnnxRuntime,
  device: Device,
  config: Heads,
  tokens: number,
  floatType: FloatType,
): boolean {
  const expected = attend(runtime, 'cpu', config, tokens, 'f32')
  const found = attend(runtime, device, config, tokens, floatType)
  return expected.every((values, piece) => values.every((value, i) => Math.abs(value - found[piece]![i]!) < TOLERANCE))
}

/** What attention makes of each piece: [tokens, heads * headDim]. */
function attend(
  runtime: OnnxRuntime,
  device: Device,
  { heads, kvHeads, headDim }: Heads,
  tokens: number,
  type: FloatType,
): number[][] {
  const [inSize, outSize] = [(heads + 2 * kvHeads) * headDim, heads * headDim]
  const cache = [1, kvHeads, PIECES * tokens, headDim]
  const inputs = ['qkv', '', '', 'past_k', 'past_v', 'seqlens_k', 'total_length']
  const attributes = { num_heads: heads, kv_num_heads: kvHeads }
  const graph = encodeModel({
    nodes: [{ op: ATTENTION, domain: MICROSOFT, inputs, outputs: ['attended', 'present_k', 'present_v'], attributes }],
    inputs: [
      { name: 'qkv', type, dims: [1, tokens, inSize] },
      ...['past_k', 'past_v'].map((name) => ({ name, type, dims: cache })),
      { name: 'seqlens_k', type: 'i32', dims: [1] },
      { name: 'total_length', type: 'i32', dims: [] },
    ],
    outputs: [
      { name: 'attended', type, dims: [1, tokens, outSize] },
      ...['present_k', 'present_v'].map((name) => ({ name, type, dims: cache })),
    ],
    initializers: [],
  })
  const session = runtime.createSession(graph, device, 1)
  const binding = session.createBinding()
  try {
    for (const name of ['k', 'v']) {
      const length = cache.reduce((product, dim) => product * dim, 1)
      const place = () =>
        device === 'cpu' ? runtime.hostTensor(floatArray(type, length), type, cache) : session.deviceTensor(type, cache)
      const value = binding.hold(place())
      binding.input(`past_${name}`, value)
      binding.output(`present_${name}`, value)
    }
    return Array.from({ length: PIECES }, (_, piece) => {
      const qkv = floatArray(type, tokens * inSize).map((_, i) => Math.sin(1 + i * i + piece))
      const attended = floatArray(type, tokens * outSize)
      const past = (piece + 1) * tokens
      binding.input('qkv', binding.hold(runtime.hostTensor(qkv, type, [1, tokens, inSize])))
      binding.input('seqlens_k', binding.hold(runtime.hostTensor(ints(1, [past - 1]), 'i32', [1])))
      binding.input('total_length', binding.hold(runtime.hostTensor(ints(1, [past]), 'i32', [])))
      binding.output('attended', binding.hold(runtime.hostTensor(attended, type, [1, tokens, outSize])))
      session.run(binding)
      return Array.from(attended)
    })
  } finally {
    binding.release()
    session.release()
  }
}
