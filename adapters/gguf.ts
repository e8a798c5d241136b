// Reads a GGUF file's header (ggml/docs/gguf.md, versions 2 and 3): metadata and the places of its tensors.
// Serves adapter files and base models alike.
// Knows no names and decodes no quantised values. Invariant: memory is bounded by the header's size, itself bounded.
import { AdapterError, quote } from './errors.ts'
import type { AdapterFile } from './file-set.ts'
import { countValues } from './source-tensor.ts'

export type GgufValue = string | number | boolean | readonly GgufValue[]

/** One tensor's place. `dims` is in GGUF's order: the innermost (contiguous) dimension first. */
export interface GgufTensor {
  readonly name: string
  /** GGML's number for the type: 0 f32, 1 f16, 30 bf16, others quantised. */
  readonly type: number
  readonly dims: readonly number[]
  /** Absolute offset in the file. */
  readonly start: number
}

export interface GgufHeader {
  readonly metadata: ReadonlyMap<string, GgufValue>
  readonly tensors: ReadonlyMap<string, GgufTensor>
}

const MAGIC = 0x46554747
const VERSIONS = [2, 3]
/** Most headers are read, and parsed, once. */
const FIRST_READ_BYTES = 4 << 20
/** The vocabularies of the largest models take about 12 MB; more is an attack. */
const MAX_HEADER_BYTES = 64 << 20
/** An adapter's header has no vocabulary. */
export const MAX_ADAPTER_HEADER_BYTES = 4 << 20
const MAX_TENSORS = 100_000
const MAX_METADATA = 10_000
const MAX_DIMENSIONS = 4
const DEFAULT_ALIGNMENT = 32
const ARRAY = 9

/** Thrown inside the parser when the bytes read so far do not hold the whole header. */
class NeedMore extends Error {}

/** The header of `file`, of at most `maxBytes` bytes. Throws AdapterError `malformed` or `too_large`. */
export async function readGgufHeader(file: AdapterFile, maxBytes = MAX_HEADER_BYTES): Promise<GgufHeader> {
  const most = Math.min(file.size, maxBytes)
  for (let length = Math.min(FIRST_READ_BYTES, most); ; length = Math.min(length * 4, most)) {
    try {
      return parseHeader(await file.read(0, length), file)
    } catch (error) {
      if (!(error instanceof NeedMore)) throw error
      if (length === file.size)
        throw new AdapterError('malformed', `${file.name} ends inside its header: it is truncated; fetch it again.`)
      if (length >= maxBytes) {
        throw new AdapterError('too_large', `${file.name} has a header of more than ${maxBytes} bytes: it is damaged.`)
      }
    }
  }
}

function parseHeader(bytes: Uint8Array, file: AdapterFile): GgufHeader {
  const reader = new Reader(bytes, file.name)
  if (reader.u32() !== MAGIC) throw reader.bad('is not a GGUF file')
  const version = reader.u32()
  if (!VERSIONS.includes(version))
    throw reader.bad(`has GGUF version ${version}; supported are ${VERSIONS.join(' and ')}`)
  const tensorCount = reader.count(MAX_TENSORS, 'tensors')
  const metadataCount = reader.count(MAX_METADATA, 'metadata entries')
  const metadata = new Map<string, GgufValue>()
  for (let i = 0; i < metadataCount; i++) {
    const key = reader.text()
    if (metadata.has(key)) throw reader.bad(`has the key ${quote(key)} twice`)
    metadata.set(key, reader.value(reader.u32()))
  }
  const tensors = Array.from({ length: tensorCount }, () => {
    const name = reader.text()
    const dimensions = reader.u32()
    if (dimensions > MAX_DIMENSIONS) throw reader.bad(`has tensor ${quote(name)} with ${dimensions} dimensions`)
    const dims = Array.from({ length: dimensions }, () => reader.u64())
    if (countValues(dims) === Number.POSITIVE_INFINITY)
      throw reader.bad(`has tensor ${quote(name)} of an impossible size`)
    return { name, dims, type: reader.u32(), offset: reader.u64() }
  })
  const alignment = metadata.get('general.alignment') ?? DEFAULT_ALIGNMENT
  if (typeof alignment !== 'number' || !Number.isSafeInteger(alignment) || alignment < 1)
    throw reader.bad('has no valid general.alignment')
  const dataStart = Math.ceil(reader.position / alignment) * alignment
  const byName = new Map<string, GgufTensor>()
  for (const { name, dims, type, offset } of tensors) {
    if (byName.has(name)) throw reader.bad(`has tensor ${quote(name)} twice`)
    if (dataStart + offset > file.size) throw reader.bad(`ends before tensor ${quote(name)}: it is truncated`)
    byName.set(name, { name, dims, type, start: dataStart + offset })
  }
  return { metadata, tensors: byName }
}

/** Walks over the header's bytes; a read beyond them throws NeedMore. */
class Reader {
  position = 0
  readonly #view: DataView
  readonly #bytes: Uint8Array
  readonly #file: string
  readonly #decoder = new TextDecoder()

  constructor(bytes: Uint8Array, file: string) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#file = file
  }

  bad(why: string): AdapterError {
    return new AdapterError('malformed', `${this.#file} ${why}; fetch or convert it again.`)
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true)
  }

  /** Throws AdapterError where the number is beyond what a double holds exactly. */
  u64(): number {
    const at = this.#take(8)
    // No BigInt: a vocabulary has a length of this kind before each of its tokens.
    const value = this.#view.getUint32(at, true) + this.#view.getUint32(at + 4, true) * 2 ** 32
    if (!Number.isSafeInteger(value)) throw this.bad('holds an impossible size')
    return value
  }

  count(limit: number, what: string): number {
    const count = this.u64()
    if (count > limit) throw this.bad(`announces ${count} ${what} (at most ${limit})`)
    return count
  }

  text(): string {
    const length = this.u64()
    if (length > MAX_HEADER_BYTES) throw this.bad(`announces a string of ${length} bytes`)
    const start = this.#take(length)
    return this.#decoder.decode(this.#bytes.subarray(start, start + length))
  }

  value(type: number): GgufValue {
    const view = this.#view
    switch (type) {
      case 0:
        return view.getUint8(this.#take(1))
      case 1:
        return view.getInt8(this.#take(1))
      case 2:
        return view.getUint16(this.#take(2), true)
      case 3:
        return view.getInt16(this.#take(2), true)
      case 4:
        return this.u32()
      case 5:
        return view.getInt32(this.#take(4), true)
      case 6:
        return view.getFloat32(this.#take(4), true)
      case 7:
        return view.getUint8(this.#take(1)) !== 0
      case 8:
        return this.text()
      case ARRAY: {
        const itemType = this.u32()
        if (itemType === ARRAY) throw this.bad('holds an array of arrays')
        const length = this.count(MAX_HEADER_BYTES, 'array items')
        const items: GgufValue[] = []
        for (let i = 0; i < length; i++) items.push(this.value(itemType))
        return items
      }
      case 10:
        return Number(view.getBigUint64(this.#take(8), true))
      case 11:
        return Number(view.getBigInt64(this.#take(8), true))
      case 12:
        return view.getFloat64(this.#take(8), true)
      default:
        throw this.bad(`holds a value of the unknown type ${type}`)
    }
  }

  #take(length: number): number {
    const start = this.position
    if (start + length > this.#bytes.byteLength) throw new NeedMore()
    this.position = start + length
    return start
  }
}
