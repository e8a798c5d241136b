// The files that an adapter arrives as, wherever they lie: a directory, an upload, a browser drop.
// Knows no file system. Invariant: nothing is read until asked for, and only the range asked for.
import { AdapterError, quote } from './errors.ts'
import { findJsonFault } from './json-faults.ts'

/** One file of an adapter. `name` is its path relative to the adapter, with forward slashes. */
export interface AdapterFile {
  readonly name: string
  readonly size: number
  /** Bytes `start` (included) to `end` (excluded); both lie within the file. */
  read(start: number, end: number): Promise<Uint8Array>
}

export type FileSet = ReadonlyMap<string, AdapterFile>

/** A file that is already in memory. */
export function memoryFile(name: string, bytes: Uint8Array): AdapterFile {
  return { name, size: bytes.byteLength, read: async (start, end) => bytes.subarray(start, end) }
}

/** A file set of the given files, keyed by name. */
export function fileSet(files: Iterable<AdapterFile>): FileSet {
  return new Map(Array.from(files, (file) => [file.name, file]))
}

/** A file's name without its folders. */
export function baseName({ name }: AdapterFile): string {
  return name.slice(name.lastIndexOf('/') + 1)
}

/** The folder that a file is in: empty, or with a slash at its end. */
export function folderOf({ name }: AdapterFile): string {
  return name.slice(0, name.lastIndexOf('/') + 1)
}

/** No configuration file of any project comes near this; anything larger is not one. */
const MAX_JSON_BYTES = 4 * 1024 * 1024

/** A small UTF-8 text file. Throws AdapterError `too_large`, or `malformed` when it isn't UTF-8. */
export async function readText(file: AdapterFile): Promise<string> {
  if (file.size > MAX_JSON_BYTES) {
    throw new AdapterError(
      'too_large',
      `${file.name} has ${file.size} bytes, far beyond any configuration file; check it.`,
    )
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: false }).decode(await file.read(0, file.size))
  } catch {
    throw new AdapterError('malformed', `${file.name} is not UTF-8 text; save it again.`)
  }
}

/** A JSON file's value. Throws AdapterError `malformed` with what JSON.parse found wrong, or what it passes over in silence. */
export async function readJson(file: AdapterFile): Promise<unknown> {
  const text = await readText(file)
  const value = parseJson(text, file)
  const fault = findJsonFault(text)
  if (fault === undefined) return value
  throw new AdapterError('malformed', `${file.name} ${fault}; correct it.`)
}

function parseJson(text: string, file: AdapterFile): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new AdapterError('malformed', `${file.name} is not valid JSON (${quote(reason)}); correct it.`)
  }
}
