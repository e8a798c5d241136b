// Asks before something that cannot be taken back. The browser's own dialog element keeps the focus inside.
import type { ComponentChildren } from 'preact'
import { useEffect, useId, useRef } from 'preact/hooks'
import type { Task } from '../loading.ts'
import { Button } from './button.tsx'
import { Failure } from './states.tsx'

interface ConfirmProps {
  readonly title: string
  readonly action: string
  readonly task: Task
  readonly children: ComponentChildren
  onConfirm(): void
  onClose(): void
}

export function Confirm({ title, action, task, children, onConfirm, onClose }: ConfirmProps) {
  const dialog = useRef<HTMLDialogElement>(null)
  const id = useId()
  useEffect(() => dialog.current?.showModal(), [])
  return (
    <dialog ref={dialog} aria-labelledby={id} onClose={onClose}>
      <h2 id={id}>{title}</h2>
      {children}
      {task.error && <Failure error={task.error} />}
      <div class="actions">
        <Button onClick={() => dialog.current?.close()}>Cancel</Button>
        <Button kind="danger" isBusy={task.isBusy} onClick={onConfirm}>
          {action}
        </Button>
      </div>
    </dialog>
  )
}
