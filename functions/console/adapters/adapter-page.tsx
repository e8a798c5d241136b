// One adapter: the version it points at, its other versions, a canary, and the ways back.
import { useState } from 'preact/hooks'
import { StoredReport } from '../../client/stored-report.ts'
import { Adapter, AdapterDeleted } from '../../routes/adapter-answers.ts'
import { readEdge } from '../api/edge.ts'
import { useAnswer } from '../api/use-edge.ts'
import { linkTo } from '../router.ts'
import { useTenant } from '../session.ts'
import { Button, ButtonLink } from '../ui/button.tsx'
import { Confirm } from '../ui/confirm.tsx'
import { Digest } from '../ui/digest.tsx'
import { shortDigest } from '../ui/format.ts'
import { Card, Page } from '../ui/page.tsx'
import { Empty, Failure, WhenLoaded } from '../ui/states.tsx'
import { type AdapterActions, useAdapterActions } from './adapter-actions.ts'
import { CanaryCard } from './canary-card.tsx'
import { linkToPublish } from './links.ts'
import { ReportView } from './report-view.tsx'
import { VersionTable } from './version-table.tsx'

export function AdapterPage({ name }: { readonly name: string }) {
  const { apiKey, own } = useTenant()
  const path = `/v1/adapters/${encodeURIComponent(own.tenant)}/${encodeURIComponent(name)}`
  const loaded = useAnswer(apiKey, path, Adapter)
  const [isDeleting, setDeleting] = useState(false)
  const [erased, setErased] = useState<AdapterDeleted>()
  const actions = useAdapterActions(path, name, loaded.reload)
  const { task } = actions
  const remove = async () => setErased(await readEdge(apiKey, path, AdapterDeleted, { method: 'DELETE' }))
  if (erased) return <Erased adapter={erased} />
  return (
    <Page
      title={`${own.tenant}/${name}`}
      actions={
        <>
          <ButtonLink href={linkTo('adapters')} icon="back">
            All adapters
          </ButtonLink>
          <ButtonLink href={linkToPublish(name)} icon="upload">
            New version
          </ButtonLink>
        </>
      }
    >
      {task.error && <Failure error={task.error} />}
      <WhenLoaded loaded={loaded}>
        {(adapter) => (
          <>
            <Card
              title="Versions"
              actions={adapter.previous_digest && <RollBack to={adapter.previous_digest} {...{ adapter, actions }} />}
              about={
                adapter.may_leave
                  ? 'Browsers of yours may download them.'
                  : 'They run on the backends only: the operator does not let browsers download them.'
              }
            >
              <VersionTable adapter={adapter} actions={actions} />
            </Card>
            <CanaryCard adapter={adapter} actions={actions} />
            <Card title="What was found in this version">
              <ReportOf adapter={adapter} />
            </Card>
            <Card
              title="Delete"
              about="The name, its versions, and their files here and on the backends. There is no way back."
              actions={
                <Button kind="danger" onClick={() => setDeleting(true)}>
                  Delete adapter
                </Button>
              }
            />
          </>
        )}
      </WhenLoaded>
      {isDeleting && (
        <Confirm
          title={`Delete ${own.tenant}/${name}?`}
          action="Delete for ever"
          onConfirm={remove}
          onClose={() => setDeleting(false)}
        >
          <p>Requests for it are refused from now on. All its versions are erased, here and on the backends.</p>
        </Confirm>
      )}
    </Page>
  )
}

interface RollBackProps {
  readonly to: string
  readonly adapter: Adapter
  readonly actions: AdapterActions
}

function RollBack({ to, adapter, actions }: RollBackProps) {
  return (
    <Button isBusy={actions.task.isBusy} onClick={() => actions.pointAt(to, adapter.digest)}>
      Roll back to {shortDigest(to)}
    </Button>
  )
}

function Erased({ adapter: { id, erased } }: { readonly adapter: AdapterDeleted }) {
  return (
    <Page title={`${id} is deleted`} takesFocus>
      <Card actions={<ButtonLink href={linkTo('adapters')}>All adapters</ButtonLink>}>
        <p role="status">
          {erased.length === 0
            ? 'Its files stay: other names have the same versions.'
            : 'Erased here, and on the backends as they are reached:'}
        </p>
        <ul class="badges">
          {erased.map((digest) => (
            <li key={digest}>
              <Digest value={digest} />
            </li>
          ))}
        </ul>
      </Card>
    </Page>
  )
}

function ReportOf({ adapter }: { readonly adapter: Adapter }) {
  const parsed = StoredReport.safeParse(adapter.report)
  if (parsed.success) return <ReportView report={parsed.data} />
  return (
    <Empty icon="layers" title="No report">
      <p>Whoever published this version did not attach what was found in it.</p>
    </Empty>
  )
}
