// Opens a base model by its path, whichever form it is in.
import { existsSync, statSync } from 'node:fs'
import { StartupError } from '../errors.ts'
import { openGgufModel } from './gguf-model.ts'
import { openHuggingFaceDir } from './hugging-face-dir.ts'
import type { ModelSource } from './model-source.ts'

/**
 * Opens the model at `path`, a directory or a .gguf file.
 * @throws StartupError naming the file and field that is missing, damaged or not supported
 */
export async function openModelSource(path: string): Promise<ModelSource> {
  if (!existsSync(path))
    throw new StartupError(`There is no model at ${path}: give a folder in Hugging Face layout or a .gguf file.`)
  return statSync(path).isDirectory() ? openHuggingFaceDir(path) : openGgufModel(path)
}
