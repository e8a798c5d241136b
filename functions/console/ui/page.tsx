// The frame of every page: one heading, what it is about, what can be done, and cards below.
import type { ComponentChildren } from 'preact'
import { useEffect, useId, useRef } from 'preact/hooks'

interface PageProps {
  readonly title: string
  readonly about?: ComponentChildren
  readonly actions?: ComponentChildren
  /** For a page that comes in place of a dialog: the focus went with that. */
  readonly takesFocus?: boolean
  readonly children: ComponentChildren
}

export function Page({ title, about, actions, takesFocus = false, children }: PageProps) {
  const heading = useRef<HTMLHeadingElement>(null)
  useEffect(() => {
    document.title = `${title} · Polylora`
    // Whoever navigates by keyboard or screen reader goes on from the new page's heading.
    if (takesFocus || document.activeElement !== document.body) heading.current?.focus({ preventScroll: true })
    scrollTo(0, 0)
  }, [title])
  return (
    <>
      <header class="page-header">
        <div>
          <h1 ref={heading} tabIndex={-1}>
            {title}
          </h1>
          {about && <p>{about}</p>}
        </div>
        {actions && <div class="actions">{actions}</div>}
      </header>
      {children}
    </>
  )
}

interface CardProps {
  readonly title?: string
  readonly about?: ComponentChildren
  readonly actions?: ComponentChildren
  readonly children?: ComponentChildren
}

export function Card({ title, about, actions, children }: CardProps) {
  const id = useId()
  return (
    <section class="card" aria-labelledby={title ? id : undefined}>
      {title && (
        <header class="card-header">
          <div>
            <h2 id={id}>{title}</h2>
            {about && <p>{about}</p>}
          </div>
          {actions && <div class="actions">{actions}</div>}
        </header>
      )}
      {children}
    </section>
  )
}
