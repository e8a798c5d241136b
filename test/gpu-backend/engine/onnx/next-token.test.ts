// The next tokens of more sequences than one softmax takes, each compared with that of its sequence alone.
import { afterAll, expect, test } from 'vitest'
import { NextToken } from '../../../../gpu-backend/engine/onnx/next-token.ts'
import { OnnxRuntime } from '../../../../gpu-backend/engine/onnx/ort.ts'
import { RowSoftmax, SOFTMAX_ROWS } from '../../../../gpu-backend/engine/onnx/row-softmax.ts'
import { SamplingParams } from '../../../../gpu-backend/protocol.ts'
import { newSequence, type Sequence } from '../../../../gpu-backend/scheduler/sequence.ts'
import { randomLogits } from '../../../support/random-logits.ts'
import { sequenceRequest } from '../../../support/sequence-request.ts'

const VOCAB = 1000
const ROWS = 2 * SOFTMAX_ROWS + 3
const BROKEN_ROW = SOFTMAX_ROWS + 1
const WAYS: readonly Partial<SamplingParams>[] = [
  { temperature: 0 },
  { temperature: 1, logprobs: 3 },
  { temperature: 0.7, top_p: 0.9 },
  { temperature: 0, logprobs: 0 },
  { temperature: 2, top_k: 40, presence_penalty: 0.5 },
  { temperature: 1, min_p: 0.1, logit_bias: { 7: 100 }, logprobs: 1 },
]

const runtime = new OnnxRuntime()
const softmax = new RowSoftmax(runtime, VOCAB, 2)
afterAll(() => {
  softmax.release()
  runtime.release()
})
const nextToken = new NextToken(undefined, softmax)

function sequences(): Sequence[] {
  return Array.from({ length: ROWS }, (_, row) => {
    const sampling = SamplingParams.parse(WAYS[row % WAYS.length])
    return newSequence(sequenceRequest({ id: row, sampling, seed: row, maxTokens: 9 }))
  })
}

function logitsOfAll(): Float32Array<ArrayBuffer> {
  const logits = new Float32Array(new ArrayBuffer(ROWS * VOCAB * Float32Array.BYTES_PER_ELEMENT))
  for (let row = 0; row < ROWS; row++) logits.set(randomLogits(row, VOCAB, 8), row * VOCAB)
  return logits
}

test('each of many sequences has the token and the log probabilities that it has alone', () => {
  const together = nextToken.chooseEach(sequences(), logitsOfAll())
  expect(together).toHaveLength(ROWS)
  for (const [row, sequence] of sequences().entries()) {
    const logits = logitsOfAll().subarray(row * VOCAB, (row + 1) * VOCAB)
    expect(together[row]).toEqual(nextToken.chooseEach([sequence], logits)[0])
    expect(together[row]).toMatchObject({ value: { top: { length: sequence.sampling.logprobs ?? 0 } } })
  }
})

test('a row whose logits are no numbers fails alone', () => {
  const logits = logitsOfAll()
  const well = nextToken.chooseEach(sequences(), logits.slice())
  logits.fill(Number.NaN, BROKEN_ROW * VOCAB, (BROKEN_ROW + 1) * VOCAB)
  const chosen = nextToken.chooseEach(sequences(), logits)
  expect(chosen[BROKEN_ROW]).toMatchObject({ error: { code: 'invalid_delta' } })
  const others = (all: typeof chosen) => all.filter((_, row) => row !== BROKEN_ROW)
  expect(others(chosen)).toEqual(others(well))
})
