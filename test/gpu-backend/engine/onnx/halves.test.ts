import { expect, test } from 'vitest'
import { rowsOfHalves } from '../../../../gpu-backend/engine/onnx/halves.ts'

/** Llama's shape; the head is the embeddings'. */
function shape(layers: number, hiddenSize: number, intermediateSize: number, heads: number, kvHeads: number) {
  return { layers, hiddenSize, intermediateSize, heads, kvHeads, headDim: 64, vocabSize: 49_152, qkvBias: false }
}

test.each([
  ['SmolLM2-135M', shape(30, 576, 1536, 9, 3), 24],
  ['Llama-3.2-1B', shape(16, 2048, 8192, 32, 8), 100],
  ['a model of one thin layer', shape(1, 64, 64, 1, 1), 151],
])('the weights of %s are read twice only for so many rows that this is made up for', (_, config, rows) => {
  expect(rowsOfHalves(config)).toBe(rows)
})
