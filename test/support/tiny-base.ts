// The tiny random Llamas of test/golden/formats, as a base model's description and its weights.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { BaseModel } from '../../adapters/base-model.ts'
import { memoryFile } from '../../adapters/file-set.ts'
import { openSafetensors } from '../../adapters/safetensors.ts'
import type { Weights } from './reference-llama.ts'

export const FORMATS = join(import.meta.dirname, '../golden/formats')

/** `gqa` has fewer key/value heads than heads, `mha` as many, `tied` has its embeddings as its head. */
export function tinyBase(name: 'gqa' | 'mha' | 'tied'): BaseModel {
  const config = JSON.parse(readFileSync(join(FORMATS, `base-${name}/config.json`), 'utf8'))
  return {
    fingerprint: `sha256:${{ gqa: 'a', mha: 'b', tied: 'c' }[name].repeat(64)}`,
    name: `tiny-${name}`,
    architecture: 'llama',
    layers: config.num_hidden_layers,
    hidden_size: config.hidden_size,
    intermediate_size: config.intermediate_size,
    heads: config.num_attention_heads,
    kv_heads: config.num_key_value_heads,
    head_dim: config.head_dim,
    vocab_size: config.vocab_size,
    tied_embeddings: config.tie_word_embeddings,
  }
}

/** Its weights as float32. */
export async function tinyWeights(name: 'gqa' | 'mha' | 'tied'): Promise<Weights> {
  const path = join(FORMATS, `base-${name}/model.safetensors`)
  const file = await openSafetensors(memoryFile('model.safetensors', new Uint8Array(readFileSync(path))))
  const weights = new Map<string, Float32Array>()
  for (const tensor of file.tensors.values()) weights.set(tensor.name, await tensor.load())
  return weights
}
