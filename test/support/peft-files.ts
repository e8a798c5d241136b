// A PEFT adapter as files in memory, for any base model: what a test publishes where no torch made anything.
import { type BaseModel, targetModules } from '../../adapters/base-model.ts'
import { type FileSet, fileSet, memoryFile } from '../../adapters/file-set.ts'
import { writeHeader } from '../../adapters/safetensors.ts'

/** One tensor of a file to be written, f32. */
export interface NamedTensor {
  readonly name: string
  readonly shape: readonly number[]
  readonly values?: Float32Array
}

/** A safetensors file of f32 tensors; values follow from the name unless given. */
export function safetensorsBytes(
  tensors: readonly NamedTensor[],
  metadata: ReadonlyMap<string, string> = new Map(),
): Uint8Array {
  const header = writeHeader(
    tensors.map(({ name, shape }) => ({ name, shape, dtype: 'F32' })),
    metadata,
  )
  const pieces = tensors.map(({ name, shape, values }) => {
    const count = shape.reduce((product, size) => product * size, 1)
    return values ?? Float32Array.from({ length: count }, (_, i) => Math.sin(i + name.length * 7) / 4)
  })
  const bytes = new Uint8Array(header.byteLength + pieces.reduce((sum, piece) => sum + piece.byteLength, 0))
  bytes.set(header)
  let offset = header.byteLength
  for (const piece of pieces) {
    bytes.set(new Uint8Array(piece.buffer), offset)
    offset += piece.byteLength
  }
  return bytes
}

/** The A and B of the given modules in PEFT's names. */
export function peftTensors(base: BaseModel, paths: readonly string[], rank = 2): NamedTensor[] {
  return paths.flatMap((path) => {
    const { in: columns, out } = targetModules(base).get(path)!
    return [
      { name: `base_model.model.${path}.lora_A.weight`, shape: [rank, columns] },
      { name: `base_model.model.${path}.lora_B.weight`, shape: [out, rank] },
    ]
  })
}

/** adapter_config.json and adapter_model.safetensors. */
export function peftFiles(tensors: readonly NamedTensor[], config: object = {}): FileSet {
  const json = JSON.stringify({ peft_type: 'LORA', r: 2, lora_alpha: 4, target_modules: ['q_proj'], ...config })
  return fileSet([
    memoryFile('adapter_config.json', new TextEncoder().encode(json)),
    memoryFile('adapter_model.safetensors', safetensorsBytes(tensors)),
  ])
}
