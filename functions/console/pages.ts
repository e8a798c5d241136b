// Which pages there are, who sees them, and what draws them. The first that a session may see is where it begins.
import type { ComponentType } from 'preact'
import { KeyPage } from './account/key-page.tsx'
import { AdaptersPage } from './adapters/adapters-page.tsx'
import { BrowserPage } from './browser/browser-page.tsx'
import { BrowsersPage } from './browser/browsers-page.tsx'
import { EmbeddingsPage } from './embeddings/embeddings-page.tsx'
import { Playground } from './playground/playground.tsx'
import { FleetPage, ResidencyPage } from './residency/residency-page.tsx'
import type { Session } from './session.ts'
import { TenantsPage } from './tenants/tenants-page.tsx'
import type { IconName } from './ui/icon.tsx'
import { EverybodysUsagePage, UsagePage } from './usage/usage-page.tsx'

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

const operators = ({ isOperator }: Session) => isOperator
const tenants = ({ own }: Session) => own !== undefined

export const PAGES: readonly PageEntry[] = [
  { path: 'playground', title: 'Playground', icon: 'play', group: 'tenant', isFor: tenants, Page: Playground },
  { path: 'embeddings', title: 'Embeddings', icon: 'vector', group: 'tenant', isFor: tenants, Page: EmbeddingsPage },
  { path: 'adapters', title: 'Adapters', icon: 'layers', group: 'tenant', isFor: tenants, Page: AdaptersPage },
  { path: 'usage', title: 'Usage', icon: 'chart', group: 'tenant', isFor: tenants, Page: UsagePage },
  { path: 'residency', title: 'Residency', icon: 'server', group: 'tenant', isFor: tenants, Page: ResidencyPage },
  { path: 'browser', title: 'In this browser', icon: 'chip', group: 'tenant', isFor: tenants, Page: BrowserPage },
  { path: 'key', title: 'Key and limits', icon: 'key', group: 'tenant', isFor: tenants, Page: KeyPage },
  { path: 'tenants', title: 'Tenants', icon: 'people', group: 'operator', isFor: operators, Page: TenantsPage },
  {
    path: 'everybody',
    title: 'Everybody’s usage',
    icon: 'chart',
    group: 'operator',
    isFor: operators,
    Page: EverybodysUsagePage,
  },
  { path: 'backends', title: 'Backends', icon: 'server', group: 'operator', isFor: operators, Page: FleetPage },
  { path: 'browsers', title: 'In browsers', icon: 'chip', group: 'operator', isFor: operators, Page: BrowsersPage },
]
