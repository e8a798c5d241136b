// Lists the members of a ZIP archive, as torch.save writes it: stored, never compressed, so nothing can expand.
// Knows nothing of torch. Invariant: every listed member's bytes lie inside the file, and no two members overlap.
import { AdapterError, quote } from './errors.ts'
import type { AdapterFile } from './file-set.ts'

export interface ZipMember {
  readonly name: string
  readonly size: number
  /** Bytes `start` to `end` of the member's data. */
  read(start: number, end: number): Promise<Uint8Array>
}

/** End-of-directory record (22), its 64-bit relatives (20 + 56) and the longest comment that a writer of tensors leaves. */
const TAIL_BYTES = 22 + 20 + 56 + 65_535
const MAX_DIRECTORY_BYTES = 32 * 1024 * 1024
const MAX_MEMBERS = 100_000
const LOCAL_HEADER_BYTES = 30
const UINT32_MAX = 0xffff_ffff

/** Whether a file begins as a ZIP archive does. */
export function isZip(head: Uint8Array): boolean {
  return head[0] === 0x50 && head[1] === 0x4b && head[2] === 3 && head[3] === 4
}

/** The archive's members by name. Throws AdapterError `malformed`, `unsupported` (compressed, encrypted) or `too_large`. */
export async function openZip(file: AdapterFile): Promise<Map<string, ZipMember>> {
  const { start, size, count } = await findDirectory(file)
  if (size > MAX_DIRECTORY_BYTES || count > MAX_MEMBERS) {
    throw new AdapterError(
      'too_large',
      `${file.name} lists ${count} members, far more than any adapter has; check the file.`,
    )
  }
  if (start + size > file.size) throw damaged(file, 'its directory lies outside the file')
  const directory = await file.read(start, start + size)
  const entries = parseDirectory(directory, count, file)
  const members = new Map<string, ZipMember>()
  let previousEnd = 0
  for (const entry of entries.sort((x, y) => x.offset - y.offset)) {
    const dataStart = await findData(entry, file)
    if (entry.offset < previousEnd) throw damaged(file, `its member ${quote(entry.name)} overlaps another one`)
    previousEnd = dataStart + entry.size
    if (previousEnd > start) throw damaged(file, `its member ${quote(entry.name)} runs past the end`)
    if (members.has(entry.name)) throw damaged(file, `its member ${quote(entry.name)} occurs twice`)
    const read = (from: number, to: number) => file.read(dataStart + from, dataStart + to)
    members.set(entry.name, { name: entry.name, size: entry.size, read })
  }
  return members
}

interface DirectoryEntry {
  readonly name: string
  readonly size: number
  readonly offset: number
}

function damaged(file: AdapterFile, why: string): AdapterError {
  return new AdapterError('malformed', `${file.name} is a damaged ZIP archive: ${why}; save or upload it again.`)
}

async function findDirectory(file: AdapterFile): Promise<{ start: number; size: number; count: number }> {
  const tailStart = Math.max(0, file.size - TAIL_BYTES)
  const tail = await file.read(tailStart, file.size)
  const view = viewOf(tail)
  for (let at = tail.byteLength - 22; at >= 0; at--) {
    if (view.getUint32(at, true) !== 0x06054b50 || at + 22 + view.getUint16(at + 20, true) !== tail.byteLength) continue
    const count = view.getUint16(at + 10, true)
    const size = view.getUint32(at + 12, true)
    const start = view.getUint32(at + 16, true)
    if (count !== 0xffff && size !== UINT32_MAX && start !== UINT32_MAX) return { start, size, count }
    const zip64 = at - 20 - 56
    if (zip64 < 0 || view.getUint32(zip64, true) !== 0x06064b50) throw damaged(file, 'its 64-bit directory is missing')
    return { count: uint64(view, zip64 + 32), size: uint64(view, zip64 + 40), start: uint64(view, zip64 + 48) }
  }
  throw damaged(file, 'it has no directory at its end, so it is truncated')
}

function parseDirectory(bytes: Uint8Array, count: number, file: AdapterFile): DirectoryEntry[] {
  const view = viewOf(bytes)
  const entries: DirectoryEntry[] = []
  let at = 0
  for (let i = 0; i < count; i++) {
    if (at + 46 > bytes.byteLength || view.getUint32(at, true) !== 0x02014b50)
      throw damaged(file, 'its directory is cut off')
    const nameLength = view.getUint16(at + 28, true)
    const extraLength = view.getUint16(at + 30, true)
    const next = at + 46 + nameLength + extraLength + view.getUint16(at + 32, true)
    if (next > bytes.byteLength) throw damaged(file, 'its directory is cut off')
    const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength))
    const flags = view.getUint16(at + 8, true)
    if (view.getUint16(at + 10, true) !== 0 || (flags & 1) !== 0) {
      throw new AdapterError(
        'unsupported',
        `${file.name}: member ${quote(name)} is compressed or encrypted, which torch.save never does; save it again with torch.save.`,
      )
    }
    const extra = viewOf(bytes.subarray(at + 46 + nameLength, at + 46 + nameLength + extraLength))
    const [size, compressed, offset] = widen(
      [view.getUint32(at + 24, true), view.getUint32(at + 20, true), view.getUint32(at + 42, true)],
      extra,
    )
    if (size === undefined || size !== compressed || offset === undefined)
      throw damaged(file, `its member ${quote(name)} has no valid size`)
    entries.push({ name, size, offset })
    at = next
  }
  return entries
}

/** Fields that are all ones are found, in order, in the 64-bit extra field (id 1). */
function widen(fields: readonly number[], extra: DataView): (number | undefined)[] {
  let at = 0
  while (at + 4 <= extra.byteLength && extra.getUint16(at, true) !== 1) at += 4 + extra.getUint16(at + 2, true)
  at += 4
  return fields.map((field) => {
    if (field !== UINT32_MAX) return field
    if (at + 8 > extra.byteLength) return undefined
    at += 8
    return uint64(extra, at - 8)
  })
}

async function findData(entry: DirectoryEntry, file: AdapterFile): Promise<number> {
  if (entry.offset + LOCAL_HEADER_BYTES > file.size)
    throw damaged(file, `its member ${quote(entry.name)} lies outside the file`)
  const local = viewOf(await file.read(entry.offset, entry.offset + LOCAL_HEADER_BYTES))
  if (local.getUint32(0, true) !== 0x04034b50) throw damaged(file, `its member ${quote(entry.name)} has no header`)
  return entry.offset + LOCAL_HEADER_BYTES + local.getUint16(26, true) + local.getUint16(28, true)
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** Larger numbers than 2^53 lose digits but stay large, and fail the checks against the file's size. */
function uint64(view: DataView, at: number): number {
  return Number(view.getBigUint64(at, true))
}
