// GGUF base models against gguf-py and transformers: every type's values to the last bit, the order of q and k, the logits.
import { createHash } from 'node:crypto'
import { cpSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { EMBEDDED_MODEL } from '../../../gpu-backend/config.ts'
import { graphPath } from '../../../gpu-backend/engine/onnx/built-graph.ts'
import { Runner } from '../../../gpu-backend/engine/onnx/runner.ts'
import { identify } from '../../../gpu-backend/model/identify.ts'
import { openModelSource } from '../../../gpu-backend/model/open-model.ts'
import { ARCHITECTURES, goldenLogits, goldens, relativeError } from '../../support/architecture-goldens.ts'
import { temporaryDir } from '../../support/temporary-dir.ts'

const cache = temporaryDir()
const { prompt, gguf } = goldens()
const expected = await goldenLogits()

describe.each(Object.entries(gguf))('the GGUF file %s', (name, tensors) => {
  const path = join(ARCHITECTURES, `${name}.gguf`)

  it('gives the values of gguf-py under the names and in the order of transformers, to the last bit', async () => {
    const weights = await (await openModelSource(path)).openWeights()
    try {
      for (const [tensor, { shape, sha256 }] of Object.entries(tensors)) {
        const values = await weights.load(tensor, shape)
        const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
        expect(createHash('sha256').update(bytes).digest('hex'), tensor).toBe(sha256)
      }
    } finally {
      await weights.close()
    }
  })

  it('gives the logits of transformers', async () => {
    const source = await openModelSource(path)
    const { config } = source
    const { fingerprint } = await identify(source, name, cache)
    const built = await graphPath(source, fingerprint, { format: 'f32', target: 'cpu', positions: 64 }, cache)
    const runner = new Runner({
      floatType: 'f32',
      graphPath: built,
      config,
      device: 'cpu',
      threads: 1,
      maxRows: 1,
      contextTokens: 64,
    })
    await runner.loadVariants()
    try {
      const { logits } = runner.prefill(0, prompt, 0, null, [...prompt.keys()])
      expect(relativeError(logits, expected.get(`gguf-${name}`)!)).toBeLessThan(1e-4)
    } finally {
      runner.release()
    }
  })
})

it('a GGUF file with a tokenizer.json beside it is read with that, and with what the file says of its tokens', async () => {
  const alone = await openModelSource(join(ARCHITECTURES, 'q8_0.gguf'))
  const dir = join(cache, 'beside')
  mkdirSync(dir)
  cpSync(join(ARCHITECTURES, 'q8_0.gguf'), join(dir, 'q8_0.gguf'))
  cpSync(join(EMBEDDED_MODEL, 'tokenizer.json'), join(dir, 'tokenizer.json'))
  const { tokenizer } = await openModelSource(join(dir, 'q8_0.gguf'))
  expect(tokenizer.tokenizer).not.toEqual(alone.tokenizer.tokenizer)
  const { bosToken, eosToken, eosTokenIds } = alone.tokenizer
  expect(bosToken).not.toBe('')
  expect(tokenizer).toMatchObject({ bosToken, eosToken, eosTokenIds })
})
