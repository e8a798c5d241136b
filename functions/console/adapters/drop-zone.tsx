// Where files are dropped, or chosen by keyboard: a folder or single files.
import { useId, useState } from 'preact/hooks'
import type { FileSet } from '../../../adapters/file-set.ts'
import { bytes } from '../ui/format.ts'
import { Icon } from '../ui/icon.tsx'
import { Failure } from '../ui/states.tsx'
import { chosenFiles, droppedFiles } from './drop.ts'

const MAX_LISTED = 6

interface DropZoneProps {
  readonly files: FileSet | undefined
  onFiles(files: FileSet | undefined): void
}

export function DropZone({ files, onFiles }: DropZoneProps) {
  const [isOver, setOver] = useState(false)
  const [error, setError] = useState<Error>()
  const take = async (read: () => FileSet | Promise<FileSet>) => {
    setError(undefined)
    try {
      const taken = await read()
      onFiles(taken.size > 0 ? taken : undefined)
    } catch (error) {
      setError(error instanceof Error ? error : new Error(String(error)))
    }
  }
  return (
    <section
      class={`drop ${isOver ? 'over' : ''}`}
      aria-label="Files of the adapter"
      onDragOver={(event) => {
        event.preventDefault()
        setOver(true)
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault()
        setOver(false)
        const { dataTransfer } = event
        if (dataTransfer) void take(() => droppedFiles(dataTransfer))
      }}
    >
      <span class="empty-icon">
        <Icon name="upload" />
      </span>
      {files ? <Listing files={files} /> : <p class="empty-title">Drop the folder that training saved, or its files</p>}
      <div class="actions">
        <Chooser label="Choose a folder" isFolder={true} onList={(list) => void take(() => chosenFiles(list))} />
        <Chooser label="Choose files" isFolder={false} onList={(list) => void take(() => chosenFiles(list))} />
      </div>
      {error && <Failure error={error} />}
    </section>
  )
}

function Listing({ files }: { readonly files: FileSet }) {
  const listed = [...files.values()]
  return (
    <ul class="files" aria-live="polite">
      {listed.slice(0, MAX_LISTED).map((file) => (
        <li key={file.name}>
          <code>{file.name}</code> <span class="muted">{bytes(file.size)}</span>
        </li>
      ))}
      {listed.length > MAX_LISTED && <li class="muted">and {listed.length - MAX_LISTED} more</li>}
    </ul>
  )
}

interface ChooserProps {
  readonly label: string
  readonly isFolder: boolean
  onList(list: FileList): void
}

function Chooser({ label, isFolder, onList }: ChooserProps) {
  const id = useId()
  return (
    <>
      <input
        class="unseen"
        id={id}
        type="file"
        multiple
        ref={(input) => {
          if (input) input.webkitdirectory = isFolder
        }}
        onChange={({ currentTarget: input }) => {
          if (input.files) onList(input.files)
          // The same files may be chosen again.
          input.value = ''
        }}
      />
      <label class="button plain" for={id}>
        {label}
      </label>
    </>
  )
}
