// A form that the page answers by itself: the browser sends nothing.
import type { ComponentChildren } from 'preact'

interface FormProps {
  readonly class: string
  readonly children: ComponentChildren
  onSubmit(): void
}

export function Form({ class: className, children, onSubmit }: FormProps) {
  return (
    <form
      class={className}
      onSubmit={(event) => {
        event.preventDefault()
        onSubmit()
      }}
    >
      {children}
    </form>
  )
}
