// A directory of the test tree as the file set that adapters/ reads.
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type FileSet, fileSet, memoryFile } from '../../adapters/file-set.ts'

/** Every file below `directory`, in memory, named by its path relative to it. */
export function directoryFiles(directory: string): FileSet {
  const names = readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort()
  const files = names.filter((name) => statSync(join(directory, name)).isFile())
  return fileSet(files.map((name) => memoryFile(name, new Uint8Array(readFileSync(join(directory, name))))))
}
