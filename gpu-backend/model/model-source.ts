// What the engine needs of a base model, wherever it comes from: configuration, weights, tokenizer.
// A directory in Hugging Face layout or one GGUF file give the same thing; nothing after this asks which it was.
import { StartupError } from '../errors.ts'
import type { ModelConfig } from './model-config.ts'

/** Tensors by their Hugging Face names, [out, in] row-major. */
export interface Weights {
  has(name: string): boolean
  /** @throws StartupError when there is no such tensor or it has another shape */
  load(name: string, shape: readonly number[]): Promise<Float32Array>
  close(): Promise<void>
}

/** tokenizer.json, parsed, and what tokenizer_config.json says beside it. */
export interface TokenizerFiles {
  readonly tokenizer: object
  readonly config: object
  readonly bosToken: string
  readonly eosToken: string
  readonly chatTemplate: string | undefined
  /** What conversations with tools are written with, where that is another. */
  readonly toolTemplate?: string | undefined
  /** Tokens that end an answer. */
  readonly eosTokenIds: readonly number[]
}

export interface ModelSource {
  readonly config: ModelConfig
  readonly tokenizer: TokenizerFiles
  /** The files whose bytes are the model's identity, sorted. */
  readonly files: readonly string[]
  openWeights(): Promise<Weights>
}

/** @throws StartupError when the tensor is missing or its shape is not the one that the configuration asks for */
export function checkShape(
  model: string,
  name: string,
  actual: readonly number[] | undefined,
  wanted: readonly number[],
): void {
  if (!actual)
    throw new StartupError(`The model in ${model} has no tensor "${name}": its weights do not fit its configuration.`)
  if (actual.join() === wanted.join()) return
  throw new StartupError(
    `The model in ${model} has "${name}" as [${actual}], but its configuration asks for [${wanted}]: use the files of one model.`,
  )
}
