// Every stored version of a name, which of them answers, and what can be done with each.
import type { Adapter, Version } from '../../routes/adapter-answers.ts'
import { linkToPlayground } from '../playground/links.ts'
import { Badge } from '../ui/badge.tsx'
import { Button, ButtonLink } from '../ui/button.tsx'
import { Digest } from '../ui/digest.tsx'
import { bytes, dateTime, percent, shortDigest } from '../ui/format.ts'
import { Table } from '../ui/table.tsx'
import type { AdapterActions } from './adapter-actions.ts'
import { projectName } from './report.ts'

const FIRST_SHARE = 0.1

interface VersionTableProps {
  readonly adapter: Adapter
  readonly actions: AdapterActions
}

export function VersionTable({ adapter, actions }: VersionTableProps) {
  return (
    <Table
      caption="Versions"
      rows={adapter.versions}
      keyOf={({ digest }) => digest}
      columns={[
        { title: 'Version', cell: ({ digest }) => <Digest value={digest} /> },
        { title: 'Answers', cell: ({ digest }) => <Share adapter={adapter} digest={digest} /> },
        { title: 'Published', cell: (version) => dateTime(version.created_ms) },
        { title: 'Made with', cell: (version) => projectName(version.source_format) },
        { title: 'Rank', kind: 'number', cell: ({ rank }) => rank },
        { title: 'Size', kind: 'number', cell: (version) => bytes(version.bytes) },
        {
          title: 'Actions',
          kind: 'actions',
          cell: (version) => <VersionActions version={version} adapter={adapter} actions={actions} />,
        },
      ]}
    />
  )
}

function VersionActions({ version: { digest }, adapter, actions }: VersionTableProps & { readonly version: Version }) {
  const { isBusy } = actions.task
  const short = shortDigest(digest)
  const isOther = digest !== adapter.digest
  return (
    <div class="actions end">
      <ButtonLink label={`Ask ${short}`} href={linkToPlayground(adapter.id, digest)}>
        Ask
      </ButtonLink>
      {adapter.may_leave && (
        <Button disabled={isBusy} label={`Download ${short}`} onClick={() => actions.download(digest)}>
          Download
        </Button>
      )}
      {isOther && digest !== adapter.canary?.digest && (
        <Button disabled={isBusy} label={`Canary: ${short}`} onClick={() => actions.setCanary(digest, FIRST_SHARE)}>
          Canary
        </Button>
      )}
      {isOther && (
        <Button
          disabled={isBusy}
          label={`Point here: ${short}`}
          onClick={() => actions.pointAt(digest, adapter.digest)}
        >
          Point here
        </Button>
      )}
    </div>
  )
}

function Share({ adapter, digest }: { readonly adapter: Adapter; readonly digest: string }) {
  const { canary } = adapter
  if (canary && digest === canary.digest) return <Badge tone="warn">Canary, {percent(canary.weight)}</Badge>
  if (digest === adapter.digest)
    return <Badge tone="good">{canary ? percent(1 - canary.weight) : 'All requests'}</Badge>
  if (digest === adapter.previous_digest) return <Badge>Before</Badge>
  return <span class="muted">–</span>
}
