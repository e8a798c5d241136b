// The frame around every page: where one can go, who is signed in, and the way out. On a narrow screen the pages are behind
// a button.
import { useEffect, useState } from 'preact/hooks'
import { PAGES, type PageEntry } from './pages.ts'
import { linkTo, useRoute } from './router.ts'
import { useSession } from './session.ts'
import { ThemeToggle } from './theme-toggle.tsx'
import { Icon } from './ui/icon.tsx'

export function Frame({ onSignOut }: { onSignOut(): void }) {
  const session = useSession()
  const [path, ...rest] = useRoute()
  const pages = PAGES.filter((page) => page.isFor(session))
  const current = pages.find((page) => page.path === path) ?? pages[0]!
  const [isOpen, setOpen] = useState(false)
  const close = () => setOpen(false)
  useEffect(close, [path, ...rest])
  return (
    <div class="frame">
      <button class="skip" type="button" onClick={() => document.getElementById('content')?.focus()}>
        Skip to content
      </button>
      <aside class="side">
        <div class="brand">
          <img src="/favicon.svg" alt="" width="28" height="28" />
          <span>Polylora</span>
        </div>
        <button
          class="button menu"
          type="button"
          aria-expanded={isOpen}
          aria-controls="pages"
          onClick={() => setOpen(!isOpen)}
        >
          <Icon name="menu" />
          {current.title}
        </button>
        <nav id="pages" class={isOpen ? 'open' : ''} aria-label="Pages">
          <Group pages={pages.filter(({ group }) => group === 'tenant')} current={current} onGo={close} />
          <Group
            title="Operator"
            pages={pages.filter(({ group }) => group === 'operator')}
            current={current}
            onGo={close}
          />
        </nav>
        <div class="who">
          <span class="avatar" aria-hidden="true">
            {(session.own?.tenant ?? 'op').slice(0, 2)}
          </span>
          <span class="who-name">
            <span class="unseen">Signed in as </span>
            {session.own?.tenant ?? 'Operator'}
            {session.own && session.isOperator && <small>and operator</small>}
          </span>
          <ThemeToggle />
          <button class="icon-button" type="button" aria-label="Sign out" title="Sign out" onClick={onSignOut}>
            <Icon name="exit" />
          </button>
        </div>
      </aside>
      <main id="content" tabIndex={-1}>
        <current.Page key={current.path} rest={rest} />
      </main>
    </div>
  )
}

interface GroupProps {
  readonly title?: string
  readonly pages: readonly PageEntry[]
  readonly current: PageEntry
  /** Also to where one is already. */
  onGo(): void
}

function Group({ title, pages, current, onGo }: GroupProps) {
  if (pages.length === 0) return null
  return (
    <>
      {title && <p class="nav-title">{title}</p>}
      <ul>
        {pages.map((page) => (
          <li key={page.path}>
            <a href={linkTo(page.path)} aria-current={page === current ? 'page' : undefined} onClick={onGo}>
              <Icon name={page.icon} />
              {page.title}
            </a>
          </li>
        ))}
      </ul>
    </>
  )
}
