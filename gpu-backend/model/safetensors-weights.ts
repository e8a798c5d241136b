// The weights of a Hugging Face directory: one safetensors file or several.
// Knows names and bytes, not what they mean. Invariant: a tensor's values are read only when it is loaded.
import { existsSync, readdirSync } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import * as z from 'zod/mini'
import { AdapterError } from '../../adapters/errors.ts'
import { openSafetensors } from '../../adapters/safetensors.ts'
import type { SourceTensor } from '../../adapters/source-tensor.ts'
import { StartupError } from '../errors.ts'
import { openDiskFile } from './disk-file.ts'
import { checkShape, type Weights } from './model-source.ts'
import { readJson } from './read-json.ts'

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
      try {
        return await tensor!.load()
      } catch (error) {
        if (error instanceof AdapterError) throw new StartupError(`The model in ${dir}: ${error.message}`)
        throw error
      }
    },
    close,
  }
}

const SINGLE = 'model.safetensors'
const INDEX = 'model.safetensors.index.json'
const Index = z.looseObject({ weight_map: z.record(z.string(), z.string()) })

/**
 * The safetensors files of a model directory, sorted by name: the single one, or those that the index names, or, where there
 * is neither, all. A second copy of the weights in other files (`consolidated.safetensors`, say) is not one of them.
 * @throws StartupError when there are none, or one that the index names is missing
 */
export function weightFiles(dir: string): string[] {
  const present = readdirSync(dir).filter((name) => name.endsWith('.safetensors'))
  const names = present.includes(SINGLE)
    ? [SINGLE]
    : existsSync(join(dir, INDEX))
      ? indexedFiles(join(dir, INDEX), present)
      : present
  if (names.length === 0) {
    throw new StartupError(
      `${dir} has no .safetensors file: the base model's weights are missing; restore or download them.`,
    )
  }
  return names.sort().map((name) => join(dir, name))
}

function indexedFiles(index: string, present: readonly string[]): string[] {
  const parsed = Index.safeParse(readJson(index))
  if (!parsed.success) throw new StartupError(`${index} has no weight_map of file names: restore it.`)
  const names = [...new Set(Object.values(parsed.data.weight_map))]
  const missing = names.find((name) => !present.includes(name))
  if (missing === undefined) return names
  throw new StartupError(`${index} names ${JSON.stringify(missing)}, which is not beside it: restore or download it.`)
}
