// Writes GGUF files for tests of what is refused: metadata and tensors as they are given, however wrong.
// Sharing nothing with the product's reader, from the format's definition in ggml/docs/gguf.md.

type Scalar = string | number | boolean
export type GgufMetadata = Readonly<Record<string, Scalar | readonly string[] | readonly number[]>>

export interface GgufTensorData {
  readonly name: string
  /** GGML's number for the type. */
  readonly type: number
  /** The contiguous dimension first. */
  readonly dims: readonly number[]
  readonly bytes: Uint8Array
}

const VERSION = 3
const ALIGNMENT = 32
const TYPE = { u32: 4, f32: 6, bool: 7, string: 8, array: 9 } as const

export function writeGguf(metadata: GgufMetadata, tensors: readonly GgufTensorData[]): Uint8Array {
  const header = [Buffer.from('GGUF'), u32(VERSION), u64(tensors.length), u64(Object.keys(metadata).length)]
  for (const [key, value] of Object.entries(metadata)) header.push(text(key), entry(value))
  let offset = 0
  for (const { name, type, dims, bytes } of tensors) {
    header.push(text(name), u32(dims.length), ...dims.map(u64), u32(type), u64(offset))
    offset += aligned(bytes.length)
  }
  const head = Buffer.concat(header)
  const data = tensors.map(({ bytes }) => pad(bytes))
  return Buffer.concat([pad(head), ...data])
}

/** Whole numbers as u32, others as f32. */
function entry(value: Scalar | readonly string[] | readonly number[]): Buffer {
  if (typeof value === 'object') {
    const items = value.map((item) => (typeof item === 'string' ? text(item) : u32(item)))
    return Buffer.concat([
      u32(TYPE.array),
      u32(typeof value[0] === 'number' ? TYPE.u32 : TYPE.string),
      u64(value.length),
      ...items,
    ])
  }
  if (typeof value === 'string') return Buffer.concat([u32(TYPE.string), text(value)])
  if (typeof value === 'boolean') return Buffer.concat([u32(TYPE.bool), Buffer.of(value ? 1 : 0)])
  if (Number.isInteger(value)) return Buffer.concat([u32(TYPE.u32), u32(value)])
  return Buffer.concat([u32(TYPE.f32), Buffer.from(Float32Array.of(value).buffer)])
}

function u32(value: number): Buffer {
  return Buffer.from(Uint32Array.of(value).buffer)
}

function u64(value: number): Buffer {
  return Buffer.from(BigUint64Array.of(BigInt(value)).buffer)
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([u64(bytes.length), bytes])
}

function aligned(length: number): number {
  return Math.ceil(length / ALIGNMENT) * ALIGNMENT
}

function pad(bytes: Uint8Array): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(aligned(bytes.length) - bytes.length)])
}
