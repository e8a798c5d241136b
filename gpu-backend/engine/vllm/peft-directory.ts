// An adapter as a PEFT directory, which vLLM loads by its path.
// Invariant: what stands under the path is whole from the first moment: a server may be looking.
import { mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

export const ADAPTER_CONFIG = 'adapter_config.json'
export const ADAPTER_WEIGHTS = 'adapter_model.safetensors'
/** What a directory's name ends with until it is whole. */
const WRITING = '.writing'

/** Writes the directory `path`, which must not be there; what is left where that fails ends with `.writing`, if anything. */
export async function writePeftDirectory(path: string, weights: Uint8Array, config: string): Promise<void> {
  const writing = `${path}-${crypto.randomUUID()}${WRITING}`
  try {
    await mkdir(writing)
    await writeFile(join(writing, ADAPTER_WEIGHTS), weights)
    await writeFile(join(writing, ADAPTER_CONFIG), config)
    await rename(writing, path)
  } catch (error) {
    await rm(writing, { recursive: true, force: true })
    throw error
  }
}
