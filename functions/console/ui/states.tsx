// What is shown in place of content: while it is fetched, where it could not be, where there is none.
import type { ComponentChildren } from 'preact'
import type { Loaded } from '../loading.ts'
import { Button } from './button.tsx'
import { Icon, type IconName } from './icon.tsx'

export function Failure({ error, onRetry }: { readonly error: Error; readonly onRetry?: () => void }) {
  return (
    <div class="notice bad" role="alert">
      <Icon name="alert" />
      <p>{error.message}</p>
      {onRetry && <Button onClick={onRetry}>Try again</Button>}
    </div>
  )
}

interface EmptyProps {
  readonly icon: IconName
  readonly title: string
  readonly children?: ComponentChildren
}

export function Empty({ icon, title, children }: EmptyProps) {
  return (
    <div class="empty">
      <span class="empty-icon">
        <Icon name={icon} />
      </span>
      <p class="empty-title">{title}</p>
      {children}
    </div>
  )
}

export function Skeleton({ lines = 3 }: { readonly lines?: number }) {
  return (
    <div class="skeleton" role="status" aria-label="Loading">
      {Array.from({ length: lines }, (_, i) => (
        <span key={i} />
      ))}
    </div>
  )
}

interface WhenLoadedProps<Value> {
  readonly loaded: Loaded<Value>
  children(value: Value): ComponentChildren
}

/** The value once it is there, with a failure above it where fetching it again went wrong. */
export function WhenLoaded<Value>({ loaded, children }: WhenLoadedProps<Value>) {
  return (
    <>
      {loaded.error && <Failure error={loaded.error} onRetry={loaded.reload} />}
      {loaded.value !== undefined ? children(loaded.value) : !loaded.error && <Skeleton />}
    </>
  )
}
