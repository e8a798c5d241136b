// Where files are dropped, or chosen by keyboard: a folder or single files.
import { useId, useState } from 'preact/hooks'
import { bytes } from '../ui/format.ts'
import { Icon } from '../ui/icon.tsx'
import { Failure } from '../ui/states.tsx'
import { type ChosenFile, droppedFiles, listedFiles } from './chosen-files.ts'

const MAX_LISTED = 6

interface DropZoneProps {
  readonly files: readonly ChosenFile[]
  onFiles(files: readonly ChosenFile[]): void
}

export function DropZone({ files, onFiles }: DropZoneProps) {
  const [isOver, setOver] = useState(false)
  const [error, setError] = useState<Error>()
  const take = async (read: () => ChosenFile[] | Promise<ChosenFile[]>) => {
    setError(undefined)
    try {
      const taken = await read()
      if (taken.length === 0) throw new Error('There is no file in it: drop the folder that training saved.')
      onFiles(taken)
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
      {files.length > 0 ? (
        <Listing files={files} />
      ) : (
        <p class="empty-title">Drop the folder that training saved, or its files</p>
      )}
      <div class="actions">
        <Chooser label="Choose a folder" isFolder={true} onList={(list) => void take(() => listedFiles(list))} />
        <Chooser label="Choose files" isFolder={false} onList={(list) => void take(() => listedFiles(list))} />
      </div>
      {error && <Failure error={error} />}
    </section>
  )
}

function Listing({ files }: { readonly files: readonly ChosenFile[] }) {
  return (
    <ul class="files" aria-live="polite">
      {files.slice(0, MAX_LISTED).map(({ name, file }) => (
        <li key={name}>
          <code>{name}</code> <span class="muted">{bytes(file.size)}</span>
        </li>
      ))}
      {files.length > MAX_LISTED && <li class="muted">and {files.length - MAX_LISTED} more</li>}
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
