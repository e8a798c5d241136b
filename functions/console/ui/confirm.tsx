// Asks before something that cannot be taken back. The browser's own dialog element keeps the focus inside.
import type { ComponentChildren } from 'preact'
import { useEffect, useId, useRef } from 'preact/hooks'
import { useTask } from '../loading.ts'
import { Button } from './button.tsx'
import { Failure } from './states.tsx'

interface ConfirmProps {
  readonly title: string
  readonly action: string
  readonly children: ComponentChildren
  /** What throws is shown in the dialog, which stays; else it closes. */
  onConfirm(): Promise<void>
  onClose(): void
}

export function Confirm({ title, action, children, onConfirm, onClose }: ConfirmProps) {
  const dialog = useRef<HTMLDialogElement>(null)
  const id = useId()
  const task = useTask()
  const confirm = async () => {
    if (await task.run(onConfirm)) dialog.current?.close()
  }
  useEffect(() => dialog.current?.showModal(), [])
  return (
    <dialog
      ref={dialog}
      aria-labelledby={id}
      onClose={onClose}
      onKeyDown={(event) => {
        // What is under way goes on without the dialog, and nobody would hear of its failure.
        if (event.key === 'Escape' && task.isBusy) event.preventDefault()
      }}
    >
      <h2 id={id}>{title}</h2>
      {children}
      {task.error && <Failure error={task.error} />}
      <div class="actions">
        <Button disabled={task.isBusy} onClick={() => dialog.current?.close()}>
          Cancel
        </Button>
        <Button kind="danger" isBusy={task.isBusy} onClick={() => void confirm()}>
          {action}
        </Button>
      </div>
    </dialog>
  )
}
