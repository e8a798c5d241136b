// The goldens of scripts/golden/architectures.py: tiny models of every architecture, and the logits that transformers gives.
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { memoryFile } from '../../adapters/file-set.ts'
import { openSafetensors } from '../../adapters/safetensors.ts'
import type { ModelSource } from '../../gpu-backend/model/model-source.ts'
import { openModelSource } from '../../gpu-backend/model/open-model.ts'

export const ARCHITECTURES = join(import.meta.dirname, '../golden/architectures')

export interface ArchitectureGoldens {
  readonly prompt: readonly number[]
  /** Model -> the model whose weights it has. */
  readonly models: Readonly<Record<string, string>>
  /** Models that have an adapter. */
  readonly adapters: readonly string[]
  /** GGUF file -> tensor by its Hugging Face name, as transformers loads it; the hash is over its f32 bytes. */
  readonly gguf: Readonly<
    Record<string, Record<string, { readonly shape: readonly number[]; readonly sha256: string }>>
  >
}

export function goldens(): ArchitectureGoldens {
  return JSON.parse(readFileSync(join(ARCHITECTURES, 'goldens.json'), 'utf8'))
}

/** Letters, and one token for everything else: only the calibration text is ever given to it. */
const LETTERS = Object.fromEntries([...'abcdefghijklmnopqrstuvwxyz?'].map((letter, id) => [letter, id]))
const TOKENIZER = {
  model: { type: 'BPE', vocab: LETTERS, merges: [], unk_token: '?' },
  decoder: null,
  added_tokens: [],
  normalizer: null,
  pre_tokenizer: null,
  post_processor: null,
}

/** A golden model as a directory in `dir`: its configuration, the weights that it shares, a tokenizer of letters. */
export async function openGolden(name: string, dir: string): Promise<ModelSource> {
  const own = join(dir, name)
  cpSync(join(ARCHITECTURES, goldens().models[name]!), own, { recursive: true })
  cpSync(join(ARCHITECTURES, name), own, { recursive: true })
  writeFileSync(join(own, 'tokenizer.json'), JSON.stringify(TOKENIZER))
  return openModelSource(own)
}

/** By model, `<model>-adapter` and `gguf-<file>`: [tokens, vocab] f32. */
export async function goldenLogits(): Promise<Map<string, Float32Array>> {
  const bytes = new Uint8Array(readFileSync(join(ARCHITECTURES, 'logits.safetensors')))
  const { tensors } = await openSafetensors(memoryFile('logits.safetensors', bytes))
  const logits = new Map<string, Float32Array>()
  for (const [name, tensor] of tensors) logits.set(name, await tensor.load())
  return logits
}

/** Largest difference, relative to the largest expected value. */
export function relativeError(actual: Float32Array, expected: Float32Array): number {
  let [largest, difference] = [0, 0]
  for (const [i, value] of expected.entries()) {
    largest = Math.max(largest, Math.abs(value))
    // Not Math.max alone: it would swallow NaN.
    const off = Math.abs(actual[i]! - value)
    if (!(off <= difference)) difference = off
  }
  return difference / largest
}
