// Reads and writes the safetensors container: 8 bytes of header length, a JSON header, the tensors one after another.
// Knows nothing of adapters. Invariant: every byte of an accepted file belongs to the header or to exactly one tensor.
import { AdapterError, quote } from './errors.ts'
import type { AdapterFile } from './file-set.ts'
import { findJsonFault } from './json-faults.ts'
import {
  BYTES_PER_VALUE,
  countValues,
  type FloatDtype,
  type SourceTensor,
  type TensorFile,
  toFloat32,
} from './source-tensor.ts'

/** An adapter of 1000 modules has a header of about 300 KB; more than this is an attack or not a safetensors file. */
export const MAX_HEADER_BYTES = 8 * 1024 * 1024
export const LENGTH_BYTES = 8
const MAX_DIMENSIONS = 8

const BITS: Readonly<Record<string, number>> = {
  F64: 64,
  F32: 32,
  F16: 16,
  BF16: 16,
  I64: 64,
  U64: 64,
  I32: 32,
  U32: 32,
  I16: 16,
  U16: 16,
  I8: 8,
  U8: 8,
  BOOL: 8,
  F8_E4M3: 8,
  F8_E5M2: 8,
  F8_E8M0: 8,
  C64: 64,
}
const DTYPES: Readonly<Record<string, FloatDtype>> = { F64: 'f64', F32: 'f32', F16: 'f16', BF16: 'bf16' }

/** One tensor's place: `start` and `end` are absolute offsets in the file. */
export interface SafetensorsEntry {
  readonly name: string
  readonly dtype: string
  readonly shape: readonly number[]
  readonly start: number
  readonly end: number
}

export interface SafetensorsHeader {
  readonly metadata: ReadonlyMap<string, string>
  /** In the order of their bytes. */
  readonly entries: readonly SafetensorsEntry[]
  /** Offset of the first tensor's first byte. */
  readonly dataStart: number
}

/** Bytes that the length field and the header take. Throws AdapterError `malformed` or, past `maxBytes`, `too_large`. */
export function headerEnd(first8: Uint8Array, file: string, maxBytes = MAX_HEADER_BYTES): number {
  if (first8.byteLength < LENGTH_BYTES) {
    throw new AdapterError('malformed', `${file} is too short to be a safetensors file; upload it again.`)
  }
  const length = new DataView(first8.buffer, first8.byteOffset, LENGTH_BYTES).getBigUint64(0, true)
  if (length > BigInt(maxBytes)) {
    throw new AdapterError(
      'too_large',
      `${file} announces a header of ${length} bytes (at most ${maxBytes}): it is damaged or not a safetensors file.`,
    )
  }
  return LENGTH_BYTES + Number(length)
}

/**
 * The header of a safetensors file of `fileBytes` bytes, of which `bytes` holds at least the first `headerEnd` ones.
 * Throws AdapterError `malformed` on bad JSON, duplicate names, overlaps, gaps, sizes that do not follow from shapes.
 */
export function parseHeader(bytes: Uint8Array, fileBytes: number, file: string): SafetensorsHeader {
  const dataStart = headerEnd(bytes, file)
  if (dataStart > bytes.byteLength || dataStart > fileBytes) {
    throw new AdapterError('malformed', `${file} ends inside its header: it is truncated; upload it again.`)
  }
  const text = decodeHeaderText(bytes.subarray(LENGTH_BYTES, dataStart), file)
  const { metadata, entries } = parseEntries(text, dataStart, file)
  let position = dataStart
  for (const entry of entries) {
    if (entry.start !== position) {
      const what = entry.start < position ? 'overlaps another tensor' : 'leaves a gap before it'
      throw new AdapterError('malformed', `${file}: tensor ${quote(entry.name)} ${what}; save the file again.`)
    }
    position = entry.end
  }
  if (position !== fileBytes) {
    const what = position > fileBytes ? 'it is truncated' : 'bytes follow the last tensor'
    throw new AdapterError(
      'malformed',
      `${file} has ${fileBytes} bytes but its header describes ${position}: ${what}; upload it again.`,
    )
  }
  return { metadata, entries, dataStart }
}

function decodeHeaderText(bytes: Uint8Array, file: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw new AdapterError('malformed', `${file}: its header is not UTF-8, so it is not a safetensors file.`)
  }
}

function parseEntries(text: string, dataStart: number, file: string) {
  let header: unknown
  try {
    header = JSON.parse(text)
  } catch {
    throw new AdapterError('malformed', `${file}: its header is not JSON, so it is not a safetensors file.`)
  }
  if (!isRecord(header)) throw new AdapterError('malformed', `${file}: its header is not a JSON object.`)
  const fault = findJsonFault(text)
  if (fault !== undefined) throw new AdapterError('malformed', `${file}: its header ${fault}; save the file again.`)
  const metadata = new Map<string, string>()
  const entries: SafetensorsEntry[] = []
  for (const [name, value] of Object.entries(header)) {
    if (name === '__metadata__') for (const [key, text] of parseMetadata(value, file)) metadata.set(key, text)
    else entries.push(parseEntry(name, value, dataStart, file))
  }
  // A tensor of no bytes shares its start with its successor: the end decides.
  entries.sort((x, y) => x.start - y.start || x.end - y.end)
  return { metadata, entries }
}

function parseMetadata(value: unknown, file: string): [string, string][] {
  const bad = (what: string) => new AdapterError('malformed', `${file}: its __metadata__ ${what}; save the file again.`)
  if (value === null) return []
  if (!isRecord(value)) throw bad('is no JSON object')
  return Object.entries(value).map(([key, text]) => {
    if (typeof text !== 'string') throw bad(`has something else than text for ${quote(key)}`)
    return [key, text]
  })
}

function parseEntry(name: string, value: unknown, dataStart: number, file: string): SafetensorsEntry {
  const bad = (why: string) =>
    new AdapterError('malformed', `${file}: tensor ${quote(name)} ${why}; save the file again.`)
  if (!isRecord(value)) throw bad('has no description')
  const { dtype, shape, data_offsets: offsets } = value
  if (typeof dtype !== 'string') throw bad('has no dtype')
  if (!isSizes(shape) || shape.length > MAX_DIMENSIONS) throw bad('has no valid shape')
  if (!isSizes(offsets) || offsets.length !== 2) throw bad('has no valid data_offsets')
  const [start, end] = offsets as [number, number]
  const bits = Object.hasOwn(BITS, dtype) ? BITS[dtype] : undefined
  if (bits === undefined) throw bad(`has the unknown dtype ${quote(dtype)}`)
  if (end - start !== (countValues(shape) * bits) / 8)
    throw bad(`has ${end - start} bytes, which do not fit its shape and dtype`)
  return { name, dtype, shape, start: dataStart + start, end: dataStart + end }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0)
}

/** Opens a safetensors file: reads its header now, each tensor when it is loaded. Throws AdapterError. */
export async function openSafetensors(file: AdapterFile): Promise<TensorFile> {
  const end = headerEnd(await file.read(0, Math.min(LENGTH_BYTES, file.size)), file.name)
  const header = parseHeader(await file.read(0, Math.min(end, file.size)), file.size, file.name)
  const tensors = new Map<string, SourceTensor>()
  for (const { name, dtype, shape, start, end } of header.entries) {
    const sourceDtype = DTYPES[dtype] ?? 'other'
    const load = async () => toFloat32(await file.read(start, end), sourceDtype, name)
    tensors.set(name, { name, dtype: sourceDtype, shape, load })
  }
  return { file: file.name, tensors, metadata: header.metadata }
}

/** What `writeHeader` needs to know of a tensor. */
export interface TensorShape {
  readonly name: string
  readonly dtype: 'F32' | 'F16'
  readonly shape: readonly number[]
}

/**
 * Length field and header, as bytes, for tensors that follow in the given order without gaps. Metadata keys are sorted
 * and the header is padded with spaces to a multiple of 8, so the same input always gives the same bytes.
 */
export function writeHeader(
  tensors: readonly TensorShape[],
  metadata: ReadonlyMap<string, string>,
): Uint8Array<ArrayBuffer> {
  const header: Record<string, unknown> = {}
  if (metadata.size > 0) {
    header.__metadata__ = Object.fromEntries([...metadata].sort(([x], [y]) => (x < y ? -1 : 1)))
  }
  let offset = 0
  for (const { name, dtype, shape } of tensors) {
    const bytes = countValues(shape) * BYTES_PER_VALUE[dtype === 'F32' ? 'f32' : 'f16']
    header[name] = { dtype, shape, data_offsets: [offset, offset + bytes] }
    offset += bytes
  }
  const json = new TextEncoder().encode(JSON.stringify(header))
  const length = Math.ceil(json.byteLength / 8) * 8
  const bytes = new Uint8Array(LENGTH_BYTES + length).fill(0x20)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true)
  bytes.set(json, LENGTH_BYTES)
  return bytes
}
