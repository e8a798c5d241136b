// A tenant's adapters: the list, one of them, or publishing, as the address says.
import { AdapterSummary } from '../../routes/adapter-answers.ts'
import { useList } from '../api/use-edge.ts'
import { useTenant } from '../session.ts'
import { ButtonLink } from '../ui/button.tsx'
import { Digest } from '../ui/digest.tsx'
import { ago, bytes } from '../ui/format.ts'
import { Card, Page } from '../ui/page.tsx'
import { Empty, WhenLoaded } from '../ui/states.tsx'
import { Table } from '../ui/table.tsx'
import { AdapterPage } from './adapter-page.tsx'
import { linkToAdapter, linkToPublish, PUBLISH } from './links.ts'
import { PublishPage } from './publish-page.tsx'
import { projectName } from './report.ts'

export function AdaptersPage({ rest: [name, more] }: { readonly rest: readonly string[] }) {
  if (name === PUBLISH) return <PublishPage key={more} name={more} />
  return name === undefined ? <AdapterList /> : <AdapterPage key={name} name={name} />
}

function AdapterList() {
  const { apiKey, own } = useTenant()
  const loaded = useList(apiKey, '/v1/adapters', AdapterSummary)
  return (
    <Page
      title="Adapters"
      about={`What ${own.tenant} has published. A name points at a version, and a version is the hash of its file.`}
      actions={
        <ButtonLink kind="primary" icon="upload" href={linkToPublish()}>
          Publish an adapter
        </ButtonLink>
      }
    >
      <Card>
        <WhenLoaded loaded={loaded}>
          {(adapters) => (adapters.length > 0 ? <AdapterTable adapters={adapters} /> : <NoAdapters />)}
        </WhenLoaded>
      </Card>
    </Page>
  )
}

function AdapterTable({ adapters }: { readonly adapters: readonly AdapterSummary[] }) {
  const nowMs = Date.now()
  return (
    <Table
      caption="Adapters"
      rows={adapters}
      keyOf={({ id }) => id}
      columns={[
        {
          title: 'Name',
          cell: ({ id }) => (
            <a class="strong" href={linkToAdapter(id.slice(id.indexOf('/') + 1))}>
              {id}
            </a>
          ),
        },
        { title: 'Version', cell: ({ digest }) => <Digest value={digest} /> },
        { title: 'Made with', cell: (adapter) => projectName(adapter.source_format) },
        { title: 'Rank', kind: 'number', cell: ({ rank }) => rank },
        { title: 'Size', kind: 'number', cell: (adapter) => bytes(adapter.bytes) },
        { title: 'Changed', kind: 'number', cell: (adapter) => ago(adapter.updated_ms, nowMs) },
      ]}
    />
  )
}

function NoAdapters() {
  return (
    <Empty icon="layers" title="No adapter yet">
      <p>Train a LoRA adapter on the base model with the tool you like, and drop the folder that it saved.</p>
      <ButtonLink kind="primary" icon="upload" href={linkToPublish()}>
        Publish the first
      </ButtonLink>
    </Empty>
  )
}
