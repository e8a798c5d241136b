import { expect, test } from 'vitest'
import { KeptPrompts } from '../../../../gpu-backend/engine/onnx/kept-prompts.ts'
import { HostKvCache } from '../../../../gpu-backend/engine/onnx/kv-cache.ts'
import { OnnxRuntime } from '../../../../gpu-backend/engine/onnx/ort.ts'
import { newSequence, type Sequence } from '../../../../gpu-backend/scheduler/sequence.ts'
import { sequenceRequest } from '../../../support/sequence-request.ts'

const CHUNK = 4
const shape = { layers: 2, kvHeads: 2, headDim: 3, contextTokens: 16, floatType: 'f32' } as const

function sequence(row: number, tokens: readonly number[], digest: string | null = null): Sequence {
  const made = newSequence(sequenceRequest({ id: row, digest, promptTokens: Int32Array.from(tokens) }))
  made.row = row
  return made
}

const range = (length: number) => Array.from({ length }, (_, i) => i)

test('what was computed of a prompt, whether it was finished or not, is copied to the row of one that begins alike', () => {
  const runtime = new OnnxRuntime()
  const kv = new HostKvCache(runtime, shape, 3)
  const kept = new KeptPrompts(kv, CHUNK, 1e6)
  const first = sequence(0, range(14), 'd')
  expect(kept.restore(first)).toBe(0)
  // Other rows and later tokens hold other values.
  const values = Float32Array.from({ length: (kv.bytesPerToken / 4) * 12 }, (_, i) => i + 1)
  kv.restore(values, 0, 0, 12)
  kept.save(first, 0, 4)
  kept.save(first, 4, 8)

  expect(kept.restore(sequence(1, range(8), 'd'))).toBe(4)
  expect(kept.restore(sequence(2, [...range(8), 99, 98], 'd'))).toBe(8)
  expect(kv.save(2, 0, 8, undefined)).toEqual(kv.save(0, 0, 8, undefined))
  expect(kv.save(2, 8, 4, undefined)).toEqual(new Float32Array((kv.bytesPerToken / 4) * 4))
  expect(kept.restore(sequence(1, range(14)))).toBe(0)
  kept.forget('d')
  expect(kept.restore(sequence(1, range(14), 'd'))).toBe(0)
  kv.release()
  runtime.release()
})

test('the rest of a prompt, shorter than a chunk, is not kept', () => {
  const runtime = new OnnxRuntime()
  const kv = new HostKvCache(runtime, shape, 2)
  const kept = new KeptPrompts(kv, CHUNK, 1e6)
  const first = sequence(0, range(6))
  kept.restore(first)
  kept.save(first, 0, 4)
  kept.save(first, 4, 6)
  expect(kept.restore(sequence(1, range(12)))).toBe(4)
  kv.release()
  runtime.release()
})
