// Dropped or chosen files, named as the command line would see them: nothing is read until it is asked for.
// Invariant: hidden files are passed over, as there: git's, and those that macOS writes beside others.
import { type AdapterFile, type FileSet, fileSet } from '../../../adapters/file-set.ts'

/** Far more than any adapter's folder has; a whole disk dropped by mistake is not listed to its end. */
const MAX_FILES = 2_000

/** A file by its path below the folder that was dropped. Passes from the page to a worker as it is. */
export interface ChosenFile {
  readonly name: string
  readonly file: File
}

export class TooManyFiles extends Error {
  constructor() {
    super(`That is more than ${MAX_FILES} files: drop the folder that training saved, or the files in it.`)
  }
}

/** What was dropped: files, and all that lies in folders. Must be called while the drop event is handled. Throws TooManyFiles. */
export async function droppedFiles(transfer: DataTransfer): Promise<ChosenFile[]> {
  const entries = [...transfer.items].flatMap((item) => item.webkitGetAsEntry() ?? [])
  const files: ChosenFile[] = []
  for (const entry of entries) {
    // A folder that was meant may be called as it likes.
    if (entry.isDirectory || !isHidden(entry.name)) await collect(entry, '', files)
  }
  return withoutSharedFolder(files)
}

/** What a file input holds; those of a folder have its name before theirs. Throws TooManyFiles. */
export function listedFiles(list: FileList): ChosenFile[] {
  const named = Array.from(list, (file) => ({ name: file.webkitRelativePath || file.name, file }))
  const files = named.filter(({ name }) => !isHidden(name))
  if (files.length > MAX_FILES) throw new TooManyFiles()
  return withoutSharedFolder(files)
}

/** As adapters/ reads them. */
export function toFileSet(files: readonly ChosenFile[]): FileSet {
  return fileSet(
    files.map(({ name, file }): AdapterFile => {
      const read = async (start: number, end: number) => new Uint8Array(await file.slice(start, end).arrayBuffer())
      return { name, size: file.size, read }
    }),
  )
}

async function collect(entry: FileSystemEntry, folder: string, files: ChosenFile[]): Promise<void> {
  if (files.length >= MAX_FILES) throw new TooManyFiles()
  if (isFile(entry)) {
    const file = await new Promise<File>((resolve, reject) => entry.file(resolve, reject))
    files.push({ name: folder + entry.name, file })
  } else if (isFolder(entry)) {
    const reader = entry.createReader()
    for (;;) {
      // A folder is listed a hundred at a time.
      const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject))
      if (some.length === 0) return
      for (const inner of some) {
        if (!isHidden(inner.name)) await collect(inner, `${folder}${entry.name}/`, files)
      }
    }
  }
}

/** Whether the name of a file, or of a folder that it is in below the chosen one, begins with a dot. */
function isHidden(path: string): boolean {
  const below = path.slice(path.indexOf('/') + 1)
  return below.split('/').some((name) => name.startsWith('.'))
}

function isFile(entry: FileSystemEntry): entry is FileSystemFileEntry {
  return entry.isFile
}

function isFolder(entry: FileSystemEntry): entry is FileSystemDirectoryEntry {
  return entry.isDirectory
}

/** Names relative to the folder that was dropped. */
function withoutSharedFolder(files: readonly ChosenFile[]): ChosenFile[] {
  const [first] = files
  const folder = first?.name.includes('/') ? first.name.slice(0, first.name.indexOf('/') + 1) : ''
  const isShared = folder !== '' && files.every(({ name }) => name.startsWith(folder))
  return files.map(({ name, file }) => ({ name: isShared ? name.slice(folder.length) : name, file }))
}
