// Opens a GGUF file as tensors that can be loaded, in the types that adapters are written in.
// Knows nothing of adapters. Invariant: every tensor's bytes lie inside the file and overlap no other's.
import { AdapterError, quote } from './errors.ts'
import type { AdapterFile } from './file-set.ts'
import { MAX_ADAPTER_HEADER_BYTES, readGgufHeader } from './gguf.ts'
import { dequantize, GGML_TYPES } from './gguf-blocks.ts'
import { countValues, type SourceDtype, type SourceTensor, type TensorFile, toFloat32 } from './source-tensor.ts'

const Q8_0 = 8

/** ggml's types that an adapter is written in: its number -> our type, values and bytes per block. */
const TYPES: Readonly<Record<number, { dtype: SourceDtype; block: number; bytes: number }>> = {
  0: { dtype: 'f32', block: 1, bytes: 4 },
  1: { dtype: 'f16', block: 1, bytes: 2 },
  [Q8_0]: { dtype: 'other', block: 32, bytes: 34 },
  28: { dtype: 'f64', block: 1, bytes: 8 },
  30: { dtype: 'bf16', block: 1, bytes: 2 },
}

export function isGguf(head: Uint8Array): boolean {
  return head[0] === 0x47 && head[1] === 0x47 && head[2] === 0x55 && head[3] === 0x46
}

/** Opens a GGUF file. The metadata's values are given as text, of arrays only that they are there. Throws AdapterError. */
export async function openGguf(file: AdapterFile): Promise<TensorFile> {
  const header = await readGgufHeader(file, MAX_ADAPTER_HEADER_BYTES)
  const tensors = new Map<string, SourceTensor>()
  let previousEnd = 0
  for (const { name, dims, type, start } of [...header.tensors.values()].sort((x, y) => x.start - y.start)) {
    const kind = TYPES[type]
    if (kind === undefined) {
      throw new AdapterError(
        'unsupported',
        `${file.name}: ${quote(name)} has ggml type ${type}; convert the adapter with --outtype f32, f16, bf16 or q8_0.`,
      )
    }
    const blocks = countValues(dims) / kind.block
    const end = start + blocks * kind.bytes
    if (start < previousEnd || !(end <= file.size) || !Number.isInteger(blocks)) {
      throw new AdapterError(
        'malformed',
        `${file.name} is a damaged GGUF file: tensor ${quote(name)} overlaps another one, is cut off or has a wrong size; convert or upload it again.`,
      )
    }
    previousEnd = end
    const load = async () => {
      const bytes = await file.read(start, end)
      return type === Q8_0
        ? dequantize(bytes, GGML_TYPES.get(Q8_0)!, blocks * kind.block)
        : toFloat32(bytes, kind.dtype, name)
    }
    // ggml writes the fastest dimension first.
    tensors.set(name, { name, dtype: kind.dtype, shape: [...dims].reverse(), load })
  }
  const texts = Array.from(header.metadata, ([key, value]) => [key, Array.isArray(value) ? '' : String(value)] as const)
  return { file: file.name, tensors, metadata: new Map(texts) }
}
