import { join } from 'node:path'
import { expect, test } from 'vitest'
import { EMBEDDED_MODEL } from '../../../gpu-backend/config.ts'
import { writeGraph } from '../../../gpu-backend/engine/onnx/built-graph.ts'
import { Runner } from '../../../gpu-backend/engine/onnx/runner.ts'
import { multipliesSignedBytes } from '../../../gpu-backend/engine/onnx/signed-bytes.ts'
import { openModelSource } from '../../../gpu-backend/model/open-model.ts'
import { temporaryDir } from '../../support/temporary-dir.ts'

const CONTEXT = 64
const isExact = multipliesSignedBytes()
if (!isExact) console.warn('This CPU multiplies signed bytes with loss: weights in signed bytes are not tested.')

test.skipIf(!isExact)('weights in signed bytes give the logits of those in unsigned bytes, to the bit', async () => {
  const root = temporaryDir()
  const source = await openModelSource(EMBEDDED_MODEL)
  const logitsWith = async (columnType: 'u8' | 'i8') => {
    const weights = await source.openWeights()
    const options = { format: 'int8', target: 'cpu', positions: CONTEXT, columnType } as const
    const graphPath = await writeGraph(source.config, weights, options, join(root, columnType))
    await weights.close()
    const runner = new Runner({
      graphPath,
      config: source.config,
      floatType: 'f32',
      device: 'cpu',
      threads: 2,
      maxRows: 3,
      contextTokens: CONTEXT,
    })
    await runner.loadVariants()
    try {
      const tokens = Array.from({ length: 20 }, (_, i) => 5 + 13 * i)
      const prompt = [0, 1, 2].map((row) => runner.prefill(row, tokens, 0, null, [...tokens.keys()]).logits.slice())
      const rows = [9, 10, 11].map((token) => ({ token, past: tokens.length, delta: null }))
      return [...prompt, Float32Array.from(runner.decode(rows).logits)]
    } finally {
      runner.release()
    }
  }
  const [signed, unsigned] = [await logitsWith('i8'), await logitsWith('u8')]
  expect(signed.every((logits, i) => Buffer.from(logits.buffer).equals(Buffer.from(unsigned[i]!.buffer)))).toBe(true)
})
