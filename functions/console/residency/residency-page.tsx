// Which versions the backends hold at this moment, and where: the tenant's own, or everybody's for the operator. Live.
import { BackendHoldings } from '../../routes/account-answers.ts'
import { useList } from '../api/use-edge.ts'
import { useSession } from '../session.ts'
import { Badge, type Tone } from '../ui/badge.tsx'
import { Digest } from '../ui/digest.tsx'
import { ago, bytes } from '../ui/format.ts'
import { Card, Page } from '../ui/page.tsx'
import { Empty, WhenLoaded } from '../ui/states.tsx'
import { Table } from '../ui/table.tsx'

const EVERY_MS = 3_000

const TIERS: Record<BackendHoldings['adapters'][number]['tier'], { tone: Tone; word: string }> = {
  device: { tone: 'good', word: 'In the batch' },
  host: { tone: 'info', word: 'In memory' },
  disk: { tone: 'none', word: 'On disk' },
}

export function ResidencyPage() {
  const { keys } = useSession()
  return <Backends path="/v1/residency" apiKey={keys.apiKey} title="Residency" whose="your adapters" />
}

export function FleetPage() {
  const { keys } = useSession()
  return <Backends path="/admin/v1/residency" apiKey={keys.adminKey} title="Backends" whose="all adapters" />
}

interface BackendsProps {
  readonly path: string
  readonly apiKey: string
  readonly title: string
  readonly whose: string
}

function Backends({ path, apiKey, title, whose }: BackendsProps) {
  const loaded = useList(apiKey, path, BackendHoldings, EVERY_MS)
  return (
    <Page
      title={title}
      about={`Where the backends hold ${whose}, every few seconds. What is nowhere here is sent with the next request for it.`}
    >
      <WhenLoaded loaded={loaded}>
        {(backends) =>
          backends.map((backend) => (
            <Card
              key={backend.backend}
              title={typeof backend.backend === 'number' ? `Backend ${backend.backend + 1}` : backend.backend}
              actions={
                <Badge tone={backend.reachable ? 'good' : 'bad'}>
                  {backend.reachable ? 'Reachable' : 'Not reachable'}
                </Badge>
              }
            >
              {backend.adapters.length > 0 ? (
                <AdapterTable adapters={backend.adapters} />
              ) : (
                <Empty icon="server" title={backend.reachable ? 'It holds none at the moment' : 'It cannot be asked'} />
              )}
            </Card>
          ))
        }
      </WhenLoaded>
    </Page>
  )
}

function AdapterTable({ adapters }: { readonly adapters: BackendHoldings['adapters'] }) {
  const nowMs = Date.now()
  return (
    <Table
      caption="Versions held"
      rows={adapters}
      keyOf={({ digest }) => digest}
      columns={[
        { title: 'Version', cell: ({ digest }) => <Digest value={digest} /> },
        {
          title: 'Name',
          cell: ({ names }) => names.join(', ') || <span class="muted">no name leads to it</span>,
        },
        { title: 'Tier', cell: ({ tier }) => <Badge tone={TIERS[tier].tone}>{TIERS[tier].word}</Badge> },
        { title: 'Size', kind: 'number', cell: (adapter) => (adapter.bytes === null ? '–' : bytes(adapter.bytes)) },
        {
          title: 'Last used',
          kind: 'number',
          cell: (adapter) => (adapter.last_used_ms === null ? '–' : ago(adapter.last_used_ms, nowMs)),
        },
      ]}
    />
  )
}
