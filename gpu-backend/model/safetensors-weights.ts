// The weights of a Hugging Face directory: one safetensors file or several.
// Knows names and bytes, not what they mean. Invariant: a tensor's values are read only when it is loaded.
import { readdirSync } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { openSafetensors } from '../../adapters/safetensors.ts'
import type { SourceTensor } from '../../adapters/source-tensor.ts'
import { StartupError } from '../errors.ts'
import { openDiskFile } from './disk-file.ts'
import { checkShape, type Weights } from './model-source.ts'

/** @throws StartupError when `dir` holds no safetensors files or one of them is damaged */
export async function openSafetensorsWeights(dir: string): Promise<Weights> {
  const tensors = new Map<string, SourceTensor>()
  const handles: FileHandle[] = []
  const close = async () => {
    for (const handle of handles) await handle.close()
  }
  try {
    for (const path of weightFiles(dir)) {
      const { file, handle } = await openDiskFile(path)
      handles.push(handle)
      for (const [name, tensor] of (await openSafetensors(file)).tensors) tensors.set(name, tensor)
    }
  } catch (error) {
    await close()
    throw new StartupError(error instanceof Error ? error.message : String(error))
  }
  return {
    has: (name) => tensors.has(name),
    load: async (name, shape) => {
      const tensor = tensors.get(name)
      checkShape(dir, name, tensor?.shape, shape)
      return tensor!.load()
    },
    close,
  }
}

/** The safetensors files of a model directory, sorted by name. @throws StartupError when there are none */
export function weightFiles(dir: string): string[] {
  const names = readdirSync(dir).filter((name) => name.endsWith('.safetensors'))
  if (names.length === 0) {
    throw new StartupError(
      `${dir} has no .safetensors file: the base model's weights are missing; restore or download them.`,
    )
  }
  return names.sort().map((name) => join(dir, name))
}
