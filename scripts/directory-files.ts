// A directory or a single file on disk as the file set that adapters/ reads: nothing is read until it is asked for.
// Knows no adapter format. Invariant: the set holds regular files below the given path only, named relative to it.
import { open, readdir, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { type AdapterFile, type FileSet, fileSet } from '../adapters/file-set.ts'
import { CliError } from './cli-error.ts'

/** A checkpoint folder has tens of files; more than this is a home directory given by mistake. */
const MAX_FILES = 2000
const MAX_DEPTH = 4

/**
 * The files of an adapter at `path`. A single file brings the small configuration files beside it, which say what its
 * tensors can't. Throws CliError when there is nothing there.
 */
export async function openAdapterPath(path: string): Promise<FileSet> {
  const found = await stat(path).catch(() => undefined)
  if (found === undefined) {
    const hub = /^[\w.-]+\/[\w.-]+$/.test(path) ? ` (from the Hugging Face Hub: hf:${path})` : ''
    throw new CliError(`${path} does not exist; give the folder or file that training saved${hub}.`)
  }
  if (found.isDirectory()) return fileSet(await listFiles(path, '', MAX_DEPTH))
  const isBeside = (name: string) => /\.(?:json|jinja)$/.test(name) && name !== basename(path)
  const beside = await listFiles(dirname(path), '', 0, isBeside)
  return fileSet([diskFile(path, basename(path), found.size), ...beside])
}

async function listFiles(
  root: string,
  folder: string,
  depth: number,
  isWanted: (name: string) => boolean = () => true,
): Promise<AdapterFile[]> {
  const files: AdapterFile[] = []
  const isShown = (name: string) => !name.startsWith('.') && isWanted(name)
  const names = (await readdir(join(root, folder))).filter(isShown).sort()
  if (names.length > MAX_FILES)
    throw new CliError(`${join(root, folder)} holds ${names.length} files; give the adapter's own folder.`)
  for (const name of names) {
    const path = join(root, folder, name)
    // Follows links: the Hugging Face cache consists of them.
    const found = await stat(path).catch(() => undefined)
    if (found?.isFile()) files.push(diskFile(path, folder + name, found.size))
    else if (found?.isDirectory() && depth > 0) files.push(...(await listFiles(root, `${folder}${name}/`, depth - 1)))
  }
  return files
}

function diskFile(path: string, name: string, size: number): AdapterFile {
  const read = async (start: number, end: number) => {
    const handle = await open(path)
    try {
      const bytes = new Uint8Array(end - start)
      let filled = 0
      while (filled < bytes.byteLength) {
        const { bytesRead } = await handle.read(bytes, filled, bytes.byteLength - filled, start + filled)
        if (bytesRead === 0) throw new CliError(`${path} became shorter while it was read; publish it again.`)
        filled += bytesRead
      }
      return bytes
    } finally {
      await handle.close()
    }
  }
  return { name, size, read }
}
