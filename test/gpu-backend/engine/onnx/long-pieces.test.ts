import { expect, test } from 'vitest'
import { computesPieces } from '../../../../gpu-backend/engine/onnx/long-pieces.ts'
import { OnnxRuntime } from '../../../../gpu-backend/engine/onnx/ort.ts'
import { prefillChunkTokens } from '../../../../gpu-backend/engine/onnx/prefill-chunk.ts'
import { useSoftwareVulkan } from '../../../support/software-vulkan.ts'

const HEADS = { heads: 6, kvHeads: 2, headDim: 32 }
const MODEL = { ...HEADS, layers: 2, hiddenSize: 192, intermediateSize: 512, vocabSize: 512 }
const found = useSoftwareVulkan()

test('pieces of every size and float type are right on the CPU, by which a device is measured', () => {
  const runtime = new OnnxRuntime()
  for (const tokens of [1, 16, 128]) {
    expect(computesPieces(runtime, 'cpu', HEADS, tokens, 'f32')).toBe(true)
    expect(computesPieces(runtime, 'cpu', HEADS, tokens, 'f16')).toBe(true)
  }
  runtime.release()
})

test.skipIf(!found)('the pieces that every WebGPU driver is given are right on this one', { timeout: 60_000 }, () => {
  const runtime = new OnnxRuntime()
  expect(computesPieces(runtime, 'webgpu', HEADS, prefillChunkTokens(MODEL, 'webgpu'), 'f32')).toBe(true)
  runtime.release()
})
