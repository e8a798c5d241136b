// Opens a GGUF file: magic, key-value pairs, tensor descriptions, then aligned tensor data (ggml/docs/gguf.md, versions 2 and 3).
// Knows nothing of adapters. Invariant: every tensor's bytes lie inside the file and overlap no other's.
import { AdapterError, quote } from './errors.ts'
import type { AdapterFile } from './file-set.ts'
import { countValues, type SourceDtype, type SourceTensor, type TensorFile, toFloat32 } from './source-tensor.ts'

/** An adapter's header is some tens of kilobytes; a whole model's, with its vocabulary, some megabytes. */
const MAX_HEADER_BYTES = 64 * 1024 * 1024
const FIRST_READ_BYTES = 256 * 1024
const MAX_ITEMS = 1_000_000
const MAX_DIMENSIONS = 4
const DEFAULT_ALIGNMENT = 32

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

/** What the header says: scalars and strings of its key-value pairs (arrays are passed over), and its tensors. */
interface Header {
  readonly metadata: Map<string, string>
  readonly tensors: { name: string; shape: number[]; type: number; offset: number }[]
  readonly end: number
}

class HeaderTooShort extends Error {}

/** Opens a GGUF file. Numbers of the metadata are given as text; arrays only by their presence. Throws AdapterError. */
export async function openGguf(file: AdapterFile): Promise<TensorFile> {
  const header = await readHeader(file)
  const alignment = Number(header.metadata.get('general.alignment') ?? DEFAULT_ALIGNMENT)
  if (!(alignment >= 1 && Number.isInteger(alignment))) throw damaged(file, 'its alignment is not a positive number')
  const dataStart = Math.ceil(header.end / alignment) * alignment
  const tensors = new Map<string, SourceTensor>()
  let previousEnd = dataStart
  for (const { name, shape, type, offset } of header.tensors.sort((x, y) => x.offset - y.offset)) {
    const kind = TYPES[type]
    if (kind === undefined) {
      throw new AdapterError(
        'unsupported',
        `${file.name}: ${quote(name)} has ggml type ${type}; convert the adapter with --outtype f32, f16, bf16 or q8_0.`,
      )
    }
    const blocks = countValues(shape) / kind.block
    const start = dataStart + offset
    const end = start + blocks * kind.bytes
    if (start < previousEnd || !(end <= file.size) || !Number.isInteger(blocks)) {
      throw damaged(file, `tensor ${quote(name)} overlaps another one, is cut off or has a wrong size`)
    }
    if (tensors.has(name)) throw damaged(file, `tensor ${quote(name)} occurs twice`)
    previousEnd = end
    const load = async () => {
      const bytes = await file.read(start, end)
      return kind.name === 'Q8_0' ? dequantise(bytes, blocks) : toFloat32(bytes, kind.dtype, name)
    }
    tensors.set(name, { name, dtype: kind.dtype, shape, load })
  }
  return { file: file.name, tensors, metadata: header.metadata }
}

function damaged(file: AdapterFile, why: string): AdapterError {
  return new AdapterError('malformed', `${file.name} is a damaged GGUF file: ${why}; convert or upload it again.`)
}

/** The header's length is not written anywhere: read more until it parses. */
async function readHeader(file: AdapterFile): Promise<Header> {
  for (let bytes = FIRST_READ_BYTES; ; bytes *= 4) {
    const length = Math.min(bytes, file.size)
    try {
      return parseHeader(await file.read(0, length), file)
    } catch (error) {
      if (!(error instanceof HeaderTooShort)) throw error
      if (length === file.size || bytes > MAX_HEADER_BYTES) throw damaged(file, 'its header is cut off')
    }
  }
}

function parseHeader(bytes: Uint8Array, file: AdapterFile): Header {
  const cursor = new Cursor(bytes)
  cursor.skip(4)
  const version = cursor.uint32()
  if (version !== 2 && version !== 3) {
    throw new AdapterError(
      'unsupported',
      `${file.name} is GGUF version ${version}; convert the adapter again with a current llama.cpp.`,
    )
  }
  const tensorCount = cursor.uint64()
  const pairCount = cursor.uint64()
  if (tensorCount > MAX_ITEMS || pairCount > MAX_ITEMS) throw damaged(file, 'it announces an absurd number of tensors')
  const metadata = new Map<string, string>()
  for (let i = 0; i < pairCount; i++) {
    const key = cursor.text()
    if (metadata.has(key)) throw damaged(file, `its key ${quote(key)} occurs twice`)
    metadata.set(
      key,
      cursor.value(cursor.uint32(), () => damaged(file, `its key ${quote(key)} has an unknown type`)),
    )
  }
  const tensors: Header['tensors'] = []
  for (let i = 0; i < tensorCount; i++) {
    const name = cursor.text()
    const dimensions = cursor.uint32()
    if (dimensions > MAX_DIMENSIONS) throw damaged(file, `tensor ${quote(name)} has ${dimensions} dimensions`)
    // ggml writes the fastest dimension first.
    const shape = Array.from({ length: dimensions }, () => cursor.uint64()).reverse()
    tensors.push({ name, shape, type: cursor.uint32(), offset: cursor.uint64() })
  }
  return { metadata, tensors, end: cursor.at }
}

/** Bytes of the scalar types, by their number; 7 is a bool, 8 a string, 9 an array. */
const SCALAR_BYTES = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8]

class Cursor {
  at = 0
  private readonly bytes: Uint8Array
  private readonly view: DataView

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** Where the skipped bytes begin. */
  skip(count: number): number {
    const start = this.at
    if (start + count > this.bytes.byteLength) throw new HeaderTooShort()
    this.at += count
    return start
  }

  uint32(): number {
    return this.view.getUint32(this.skip(4), true)
  }

  uint64(): number {
    return Number(this.view.getBigUint64(this.skip(8), true))
  }

  text(): string {
    const length = this.uint64()
    const start = this.skip(length)
    return new TextDecoder().decode(this.bytes.subarray(start, start + length))
  }

  value(type: number, unknownType: () => AdapterError): string {
    if (type === 8) return this.text()
    if (type === 9) return this.array(unknownType)
    const size = SCALAR_BYTES[type]
    if (size === undefined) throw unknownType()
    const start = this.skip(size)
    if (type === 6) return String(this.view.getFloat32(start, true))
    if (type === 12) return String(this.view.getFloat64(start, true))
    if (type === 4) return String(this.view.getUint32(start, true))
    if (type === 5) return String(this.view.getInt32(start, true))
    if (type === 10) return String(this.view.getBigUint64(start, true))
    if (type === 11) return String(this.view.getBigInt64(start, true))
    return String(this.bytes[start])
  }

  private array(unknownType: () => AdapterError): string {
    const type = this.uint32()
    const count = this.uint64()
    const size = SCALAR_BYTES[type]
    if (size === undefined || type === 9 || count > 16 * MAX_ITEMS) throw unknownType()
    if (type === 8) for (let i = 0; i < count; i++) this.skip(this.uint64())
    else this.skip(size * count)
    return `[${count}]`
  }
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
