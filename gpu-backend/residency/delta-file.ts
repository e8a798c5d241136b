// The file in which the disk tier keeps one packed delta: a header of ranks and metadata, then the values.
// Written whole under another name; whoever keeps the files renames it, so that a file that exists is complete.
import { type FileHandle, open, rm } from 'node:fs/promises'
import { endianness } from 'node:os'
import { join } from 'node:path'
import * as z from 'zod/mini'
import type { BaseModel } from '../../adapters/base-model.ts'
import type { ProjectionGroup } from '../model/projection-groups.ts'
import { tooManyOpen } from './full-disk.ts'
import { type PackedDelta, type PackedShape, packedValues, viewPacked } from './packed-delta.ts'

const VERSION = 4
/** The values start here unless the metadata (a chat template) needs more; a multiple of it always. */
const ALIGNMENT = 4096
/** Bytes before the header's JSON: its length as u32, and where the values start as u32. */
const PREFIX_BYTES = 8
const MAX_HEADER_BYTES = 4 << 20

const Header = z.object({
  version: z.literal(VERSION),
  digest: z.string(),
  base: z.string(),
  endianness: z.literal(endianness()),
  layout: z.string(),
  ranks: z.array(z.int()),
  embeddingRank: z.int(),
  chatTemplate: z.optional(z.string()),
})
export type DeltaFileHeader = z.infer<typeof Header>

export interface DeltaFileContent {
  readonly digest: string
  readonly base: string
  /** `layoutOf` the groups that it was packed for. */
  readonly layout: string
  readonly shape: PackedShape
  readonly values: Float32Array
  readonly chatTemplate: string | undefined
}

const FILE_NAME = /^([0-9a-f]{64})\.delta$/
/** Ends the name of a file that is not whole yet. */
export const WRITING_SUFFIX = '.writing'

/** The file of the delta `digest` in `dir`: the disk tier writes it, the engine's thread reads it. */
export function deltaPath(dir: string, digest: string): string {
  return join(dir, `${digest.slice('sha256:'.length)}.delta`)
}

/** The delta that a file of this name holds; undefined where it is none of ours. */
export function tryDigest(fileName: string): string | undefined {
  const hex = FILE_NAME.exec(fileName)?.[1]
  return hex && `sha256:${hex}`
}

/** Writes the file beside `path`, complete and ready to be renamed to it. Returns its own path and its size in bytes. */
export async function writeDeltaFile(
  path: string,
  content: DeltaFileContent,
): Promise<{ temporary: string; bytes: number }> {
  const header: DeltaFileHeader = {
    version: VERSION,
    digest: content.digest,
    base: content.base,
    endianness: endianness(),
    layout: content.layout,
    ranks: [...content.shape.ranks],
    embeddingRank: content.shape.embeddingRank,
    ...(content.chatTemplate === undefined ? {} : { chatTemplate: content.chatTemplate }),
  }
  const json = new TextEncoder().encode(JSON.stringify(header))
  const start = Math.ceil((PREFIX_BYTES + json.length) / ALIGNMENT) * ALIGNMENT
  const front = new Uint8Array(start)
  new DataView(front.buffer).setUint32(0, json.length, true)
  new DataView(front.buffer).setUint32(4, start, true)
  front.set(json, PREFIX_BYTES)
  const temporary = `${path}.${process.pid}.${crypto.randomUUID()}${WRITING_SUFFIX}`
  try {
    const file = await open(temporary, 'w')
    try {
      await file.writeFile(front)
      await file.writeFile(new Uint8Array(content.values.buffer, content.values.byteOffset, content.values.byteLength))
    } finally {
      await file.close()
    }
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
  return { temporary, bytes: start + content.values.byteLength }
}

/** The header of the file at `path`. @throws Error when it is missing, damaged or not as long as its header says, or as `openToRead` */
export async function readDeltaHeader(
  path: string,
  groups: readonly ProjectionGroup[],
  base: BaseModel,
): Promise<DeltaFileHeader> {
  const file = await openToRead(path)
  try {
    const { header, start } = await readFront(file, path)
    const bytes = start + packedValues(header, groups, base) * Float32Array.BYTES_PER_ELEMENT
    if ((await file.stat()).size !== bytes) throw new Error(`${path} is damaged: it must have ${bytes} bytes.`)
    return header
  } finally {
    await file.close()
  }
}

/** The delta in the file at `path`, in one read. @throws Error when it is missing or damaged, or as `openToRead` */
export async function readDeltaFile(
  path: string,
  groups: readonly ProjectionGroup[],
  base: BaseModel,
): Promise<PackedDelta> {
  const file = await openToRead(path)
  try {
    const { header, start } = await readFront(file, path)
    // Not zeroed: touching new memory would hold up the engine's thread, where the read that fills it runs beside it.
    const bytes = Buffer.allocUnsafeSlow(packedValues(header, groups, base) * Float32Array.BYTES_PER_ELEMENT)
    await readFully(file, bytes, start, path)
    return viewPacked(header.digest, header, groups, base, new Float32Array(bytes.buffer))
  } finally {
    await file.close()
  }
}

/** @throws BackendError as `tooManyOpen` */
async function openToRead(path: string): Promise<FileHandle> {
  try {
    return await open(path)
  } catch (error) {
    throw tooManyOpen(error) ?? error
  }
}

async function readFront(file: FileHandle, path: string): Promise<{ header: DeltaFileHeader; start: number }> {
  const prefix = new Uint8Array(PREFIX_BYTES)
  await readFully(file, prefix, 0, path)
  const length = new DataView(prefix.buffer).getUint32(0, true)
  const start = new DataView(prefix.buffer).getUint32(4, true)
  if (length > MAX_HEADER_BYTES) throw new Error(`${path} is damaged: its header is ${length} bytes long.`)
  const json = new Uint8Array(length)
  await readFully(file, json, PREFIX_BYTES, path)
  return { header: Header.parse(JSON.parse(new TextDecoder().decode(json))), start }
}

async function readFully(file: FileHandle, target: Uint8Array, position: number, path: string): Promise<void> {
  let done = 0
  while (done < target.length) {
    const { bytesRead } = await file.read(target, done, target.length - done, position + done)
    if (bytesRead === 0) throw new Error(`${path} is damaged: it ends early.`)
    done += bytesRead
  }
}
