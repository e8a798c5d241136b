// Weights that two sessions have in common, once in memory: as they lie in their file, and as ONNX Runtime packs them for its
// products. It shares what it packs of constants that it is given by hand, and not of those that it reads itself (1.30).
import { closeSync, openSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { WEIGHTS_FILE } from '../../model/graph.ts'
import { sharedPlaces, type WeightPlace } from './graph-variants.ts'
import { MADV_DONTNEED, memoryCalls } from './libc.ts'
import type { Native, OnnxRuntime } from './ort.ts'
import type { Value } from './ort-binding.ts'

/** Of Linux's mmap(2). */
const PROT_READ = 1
const MAP_PRIVATE = 2

/** A file in this process's memory, for reading. */
interface Mapping {
  readonly address: bigint
  /** Lets its pages go until they are read again. */
  letGo(): void
  unmap(): void
}

export class SharedWeights {
  readonly #mapping: Mapping
  readonly values: readonly { readonly name: string; readonly value: Value }[]
  /** What sessions put packed weights into, and find them in. */
  readonly packed: Native

  private constructor(runtime: OnnxRuntime, mapping: Mapping, places: readonly WeightPlace[]) {
    this.#mapping = mapping
    this.packed = runtime.createPackedWeights()
    this.values = places.map(({ name, type, dims, offset, bytes }) => ({
      name,
      value: runtime.tensorAt(mapping.address + BigInt(offset), bytes, type, dims),
    }))
  }

  /**
   * Those of the graph at `graphPath`; undefined where it has been built for one session alone (for other devices than the CPU,
   * or in f16), or files cannot be mapped from here (not Linux).
   */
  static of(runtime: OnnxRuntime, graphPath: string): SharedWeights | undefined {
    const places = sharedPlaces(graphPath)
    const mapping = places && mapFile(join(dirname(graphPath), WEIGHTS_FILE))
    return mapping && new SharedWeights(runtime, mapping, places)
  }

  /** To be called once all sessions are there: what they have packed is not read from the file again. */
  letGoOfFile(): void {
    this.#mapping.letGo()
  }

  /** To be called once no session has them any more. */
  release(): void {
    for (const { value } of this.values) value.release()
    this.packed.release()
    this.#mapping.unmap()
  }
}

function mapFile(path: string): Mapping | undefined {
  const calls = memoryCalls()
  if (!calls) return undefined
  const { mmap, madvise, munmap } = calls
  const { size } = statSync(path)
  const file = openSync(path, 'r')
  try {
    const address = mmap(size, PROT_READ, MAP_PRIVATE, file)
    if (address === undefined) return undefined
    return { address, letGo: () => madvise(address, size, MADV_DONTNEED), unmap: () => munmap(address, size) }
  } finally {
    closeSync(file)
  }
}
