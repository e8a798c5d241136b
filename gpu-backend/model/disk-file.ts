// A file on disk as adapters/ reads files: a range at a time, so that nothing large is held whole.
import { type FileHandle, open } from 'node:fs/promises'
import type { AdapterFile } from '../../adapters/file-set.ts'
import { StartupError } from '../errors.ts'

interface DiskFile extends AdapterFile {
  read(start: number, end: number): Promise<Uint8Array<ArrayBuffer>>
}

/** Opens `path`; the caller closes `handle`. */
export async function openDiskFile(path: string): Promise<{ file: DiskFile; handle: FileHandle }> {
  const handle = await open(path)
  const read = async (start: number, end: number) => {
    const bytes = new Uint8Array(end - start)
    let done = 0
    while (done < bytes.length) {
      const { bytesRead } = await handle.read(bytes, done, bytes.length - done, start + done)
      if (bytesRead === 0) throw new StartupError(`${path} ends early: it is truncated; restore it.`)
      done += bytesRead
    }
    return bytes
  }
  return { file: { name: path, size: (await handle.stat()).size, read }, handle }
}
