// A tenant's adapters, and which of them a browser may download: the operator's decision.
import type { AdapterSummary } from '../../routes/adapter-answers.ts'
import { sendEdge } from '../api/edge.ts'
import { useTask } from '../loading.ts'
import { useSession } from '../session.ts'
import { Digest } from '../ui/digest.tsx'
import { Check } from '../ui/field.tsx'
import { bytes } from '../ui/format.ts'
import { Card } from '../ui/page.tsx'
import { Empty, Failure } from '../ui/states.tsx'
import { Table } from '../ui/table.tsx'

interface AdaptersCardProps {
  readonly path: string
  readonly adapters: readonly AdapterSummary[]
  /** Resolves once the adapters are shown as they are now. */
  reload(): Promise<void>
}

export function AdaptersCard({ path, adapters, reload }: AdaptersCardProps) {
  const { adminKey } = useSession().keys
  const task = useTask()
  const allow = (adapter: AdapterSummary, mayLeave: boolean) => {
    const name = adapter.id.slice(adapter.id.indexOf('/') + 1)
    void task.run(async () => {
      await sendEdge(adminKey, 'PATCH', `${path}/adapters/${encodeURIComponent(name)}`, { may_leave: mayLeave })
      await reload()
    })
  }
  return (
    <Card
      title="Adapters"
      about="What a browser has downloaded to run it stays there; taking the permission back ends further downloads."
    >
      {task.error && <Failure error={task.error} />}
      {adapters.length === 0 ? (
        <Empty icon="layers" title="No adapter yet" />
      ) : (
        <AdapterTable adapters={adapters} isBusy={task.isBusy} onAllow={allow} />
      )}
    </Card>
  )
}

interface AdapterTableProps {
  readonly adapters: readonly AdapterSummary[]
  readonly isBusy: boolean
  onAllow(adapter: AdapterSummary, mayLeave: boolean): void
}

function AdapterTable({ adapters, isBusy, onAllow }: AdapterTableProps) {
  return (
    <Table
      caption="Adapters"
      rows={adapters}
      keyOf={({ id }) => id}
      columns={[
        { title: 'Name', cell: ({ id }) => id },
        { title: 'Version', cell: ({ digest }) => <Digest value={digest} /> },
        { title: 'Size', kind: 'number', cell: (adapter) => bytes(adapter.bytes) },
        {
          title: 'In browsers',
          cell: (adapter) => (
            <Check
              label="May be downloaded"
              checked={adapter.may_leave}
              disabled={isBusy}
              onChange={(on) => onAllow(adapter, on)}
            />
          ),
        },
      ]}
    />
  )
}
