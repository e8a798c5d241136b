// Every format against the project that wrote it: logits computed there on torch, here by the reference maths with our delta.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { decodeDelta, encodeDelta } from '../../adapters/canonical.ts'
import { loadDelta } from '../../adapters/delta-source.ts'
import { memoryFile } from '../../adapters/file-set.ts'
import { importAdapter } from '../../adapters/import-adapter.ts'
import { openSafetensors } from '../../adapters/safetensors.ts'
import { directoryFiles } from '../support/directory-files.ts'
import { referenceLogits } from '../support/reference-llama.ts'
import { FORMATS, tinyBase, tinyWeights } from '../support/tiny-base.ts'

interface Goldens {
  prompt: number[]
  cases: Record<string, { base: 'gqa' | 'mha' | 'tied'; tolerance?: number }>
}

/** Largest difference, relative to the largest logit. */
function relativeError(actual: readonly number[][], expected: Float32Array): number {
  const flat = actual.flat()
  const largest = expected.reduce((max, value) => Math.max(max, Math.abs(value)), 0)
  return flat.reduce((max, value, i) => Math.max(max, Math.abs(value - expected[i]!)), 0) / largest
}

const makers = readdirSync(FORMATS).filter((name) => name.endsWith('.json'))

describe.each(makers)('%s', (maker) => {
  const goldens: Goldens = JSON.parse(readFileSync(join(FORMATS, maker), 'utf8'))
  test.each(Object.entries(goldens.cases))(
    '%s gives the logits of the project that made it',
    async (name, { base, tolerance = 1e-5 }) => {
      const bytes = new Uint8Array(readFileSync(join(FORMATS, maker.replace('.json', '.safetensors'))))
      const expected = await (await openSafetensors(memoryFile(maker, bytes))).tensors.get(name)!.load()
      const model = tinyBase(base)
      const weights = await tinyWeights(base)
      const bare = referenceLogits(model, weights, goldens.prompt)
      if (maker === 'bare.json') {
        expect(relativeError(bare, expected)).toBeLessThan(1e-5)
        return
      }
      const source = await importAdapter(directoryFiles(join(FORMATS, name)), { base: model })
      const delta = decodeDelta(encodeDelta(await loadDelta(source), model), model)
      expect(relativeError(referenceLogits(model, weights, goldens.prompt, delta), expected)).toBeLessThan(tolerance)
      // A scale that is wrong by a tenth would not pass.
      for (const module of delta.modules.values()) for (let i = 0; i < module.b.length; i++) module.b[i]! *= 1.1
      expect(relativeError(referenceLogits(model, weights, goldens.prompt, delta), expected)).toBeGreaterThan(tolerance)
      // The change is large, so that a wrong factor or order could not hide in the tolerance.
      expect(relativeError(bare, expected)).toBeGreaterThan(0.05)
    },
  )
})
