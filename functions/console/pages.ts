// Which pages there are, who sees them, and what draws them. The first that a session may see is where it begins.
import type { ComponentType } from 'preact'
import { KeyPage } from './account/key-page.tsx'
import { Playground } from './playground/playground.tsx'
import type { Session } from './session.ts'
import type { IconName } from './ui/icon.tsx'

export interface PageEntry {
  /** First segment of the address. */
  readonly path: string
  readonly title: string
  readonly icon: IconName
  readonly group: 'tenant' | 'operator'
  isFor(session: Session): boolean
  /** Gets the address's other segments. */
  readonly Page: ComponentType<{ readonly rest: readonly string[] }>
}

const tenants = ({ own }: Session) => own !== undefined

export const PAGES: readonly PageEntry[] = [
  { path: 'playground', title: 'Playground', icon: 'play', group: 'tenant', isFor: tenants, Page: Playground },
  { path: 'key', title: 'Key and limits', icon: 'key', group: 'tenant', isFor: tenants, Page: KeyPage },
]
