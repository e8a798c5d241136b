import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import type { BaseModel } from '../../adapters/base-model.ts'
import { decodeDelta, encodeDelta } from '../../adapters/canonical.ts'
import { loadDelta } from '../../adapters/delta-source.ts'
import { importAdapter } from '../../adapters/import-adapter.ts'
import { verifyAdapter } from '../../adapters/verify.ts'
import { directoryFiles } from '../support/directory-files.ts'

const path = (relative: string) => fileURLToPath(new URL(`../../${relative}`, import.meta.url))
const config = JSON.parse(readFileSync(path('gpu-backend/base-model/config.json'), 'utf8'))
const base: BaseModel = {
  fingerprint: `sha256:${'5'.repeat(64)}`,
  name: 'embedded',
  architecture: config.model_type,
  layers: config.num_hidden_layers,
  hidden_size: config.hidden_size,
  intermediate_size: config.intermediate_size,
  heads: config.num_attention_heads,
  kv_heads: config.num_key_value_heads,
  head_dim: config.head_dim,
  vocab_size: config.vocab_size,
  tied_embeddings: config.tie_word_embeddings,
}

describe('the sample adapters, each in the form of the project that trained it', () => {
  test.each([
    ['forno', 'peft', 16],
    ['spoke', 'loralib', 8],
    ['tumble', 'alpaca-lora', 8],
    ['petal', 'mistral-finetune', 8],
    ['harrow', 'peft', 4],
  ])('%s is read as %s, changes all linear layers, and fits the embedded base model', async (tenant, format, rank) => {
    const source = await importAdapter(directoryFiles(path(`adapters/samples/${tenant}`)), { base })
    const report = await verifyAdapter(source, base, 'f32', { maxRank: 16, maxBytes: 4e6 })
    expect(report).toMatchObject({ sourceFormat: format, rank, moduleCount: 7 * base.layers })
    expect(report.hasChatTemplate).toBe(format === 'alpaca-lora')
    const delta = decodeDelta(encodeDelta(await loadDelta(source), base), base)
    expect(delta.modules.size).toBe(report.moduleCount)
  })
})
