// Opens the weights of a base model in a Hugging Face directory: one safetensors file or several with an index.
// Knows names and bytes, not what they mean. Invariant: a tensor's values are read only when it is loaded.
import { existsSync, readdirSync, statSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import type { AdapterFile } from '../../adapters/file-set.ts'
import { openSafetensors } from '../../adapters/safetensors.ts'
import type { SourceTensor } from '../../adapters/source-tensor.ts'
import { StartupError } from '../errors.ts'

export interface Weights {
  /** Paths of the files that hold the weights, sorted. */
  readonly files: readonly string[]
  has(name: string): boolean
  /** @throws StartupError when there is no such tensor or it has another shape */
  load(name: string, shape: readonly number[]): Promise<Float32Array>
  close(): Promise<void>
}

/** @throws StartupError when `dir` holds no safetensors files or one of them is damaged */
export async function openWeights(dir: string): Promise<Weights> {
  const files = weightFiles(dir)
  const tensors = new Map<string, SourceTensor>()
  const handles: FileHandle[] = []
  const close = async () => {
    for (const handle of handles) await handle.close()
  }
  try {
    for (const file of files) {
      const handle = await open(file)
      handles.push(handle)
      for (const [name, tensor] of (await openSafetensors(diskFile(file, handle))).tensors) tensors.set(name, tensor)
    }
  } catch (error) {
    await close()
    throw new StartupError(error instanceof Error ? error.message : String(error))
  }
  return {
    files,
    has: (name) => tensors.has(name),
    load: async (name, shape) => {
      const tensor = tensors.get(name)
      if (!tensor)
        throw new StartupError(`The model in ${dir} has no tensor "${name}": its weights do not fit its config.json.`)
      if (tensor.shape.join() !== shape.join()) {
        throw new StartupError(
          `The model in ${dir} has "${name}" as [${tensor.shape}], but its config.json asks for [${shape}]: use the files of one model.`,
        )
      }
      return tensor.load()
    },
    close,
  }
}

/** The safetensors files of a model directory, sorted by name. @throws StartupError when there are none */
export function weightFiles(dir: string): string[] {
  if (!existsSync(dir)) throw new StartupError(`There is no model in ${dir}: the directory does not exist.`)
  const names = readdirSync(dir).filter((name) => name.endsWith('.safetensors'))
  if (names.length === 0) {
    throw new StartupError(
      `${dir} has no .safetensors file: the base model's weights are missing; restore or download them.`,
    )
  }
  return names.sort().map((name) => join(dir, name))
}

function diskFile(path: string, handle: FileHandle): AdapterFile {
  return {
    name: path,
    size: statSync(path).size,
    read: async (start, end) => {
      const bytes = new Uint8Array(end - start)
      let done = 0
      while (done < bytes.length) {
        const { bytesRead } = await handle.read(bytes, done, bytes.length - done, start + done)
        if (bytesRead === 0) throw new StartupError(`${path} ends early: it is truncated; restore it.`)
        done += bytesRead
      }
      return bytes
    },
  }
}
