// Opens a GGUF file as tensors that can be loaded, in the types that adapters are written in.
// Knows nothing of adapters. Invariant: every tensor's bytes lie inside the file and overlap no other's.
import { AdapterError, quote } from './errors.ts'
import type { AdapterFile } from './file-set.ts'
import { readGgufHeader } from './gguf.ts'
import { countValues, type SourceDtype, type SourceTensor, type TensorFile, toFloat32 } from './source-tensor.ts'

/** ggml's types that an adapter is written in: its number -> our type, values and bytes per block. */
const TYPES: Readonly<Record<number, { dtype: SourceDtype; name: string; block: number; bytes: number }>> = {
  0: { dtype: 'f32', name: 'F32', block: 1, bytes: 4 },
  1: { dtype: 'f16', name: 'F16', block: 1, bytes: 2 },
  8: { dtype: 'other', name: 'Q8_0', block: 32, bytes: 34 },
  28: { dtype: 'f64', name: 'F64', block: 1, bytes: 8 },
  30: { dtype: 'bf16', name: 'BF16', block: 1, bytes: 2 },
}

export function isGguf(head: Uint8Array): boolean {
  return head[0] === 0x47 && head[1] === 0x47 && head[2] === 0x55 && head[3] === 0x46
}

/** Opens a GGUF file. The metadata's values are given as text; arrays are left out. Throws AdapterError. */
export async function openGguf(file: AdapterFile): Promise<TensorFile> {
  const header = await readGgufHeader(file)
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
      return kind.name === 'Q8_0' ? dequantise(bytes, blocks) : toFloat32(bytes, kind.dtype, name)
    }
    // ggml writes the fastest dimension first.
    tensors.set(name, { name, dtype: kind.dtype, shape: [...dims].reverse(), load })
  }
  const scalars = [...header.metadata].filter(([, value]) => !Array.isArray(value))
  return { file: file.name, tensors, metadata: new Map(scalars.map(([key, value]) => [key, String(value)])) }
}

/** Q8_0: blocks of 32 values, an f16 factor and 32 signed bytes each. */
function dequantise(bytes: Uint8Array, blocks: number): Float32Array {
  const copy = bytes.slice()
  const view = new DataView(copy.buffer)
  const values = new Float32Array(blocks * 32)
  for (let block = 0; block < blocks; block++) {
    const factor = view.getFloat16(block * 34, true)
    for (let i = 0; i < 32; i++) values[block * 32 + i] = factor * view.getInt8(block * 34 + 2 + i)
  }
  return values
}
