// A tenant's adapters: the list, one of them, or publishing, as the address says.
import { AdapterSummary, listOf } from '../api/answers.ts'
import { readEdge } from '../api/edge.ts'
import { useLoaded } from '../loading.ts'
import { useTenant } from '../session.ts'
import { ButtonLink } from '../ui/button.tsx'
import { Digest } from '../ui/digest.tsx'
import { ago, bytes } from '../ui/format.ts'
import { Card, Page } from '../ui/page.tsx'
import { Empty, WhenLoaded } from '../ui/states.tsx'
import { AdapterPage } from './adapter-page.tsx'
import { linkToAdapter, linkToPublish, PUBLISH } from './links.ts'
import { PublishPage } from './publish-page.tsx'
import { projectName } from './report.ts'

export function AdaptersPage({ rest: [name, more] }: { readonly rest: readonly string[] }) {
  if (name === PUBLISH) return <PublishPage name={more} />
  return name === undefined ? <AdapterList /> : <AdapterPage key={name} name={name} />
}

function AdapterList() {
  const { apiKey, own } = useTenant()
  const loaded = useLoaded(
    async (signal) => (await readEdge(apiKey, '/v1/adapters', listOf(AdapterSummary), { signal })).data,
    [apiKey],
  )
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
    <div class="scroll">
      <table>
        <thead>
          <tr>
            <th scope="col">Name</th>
            <th scope="col">Version</th>
            <th scope="col">Made with</th>
            <th scope="col" class="number">
              Rank
            </th>
            <th scope="col" class="number">
              Size
            </th>
            <th scope="col" class="number">
              Changed
            </th>
          </tr>
        </thead>
        <tbody>
          {adapters.map((adapter) => (
            <tr key={adapter.id}>
              <th scope="row">
                <a class="strong" href={linkToAdapter(adapter.id.slice(adapter.id.indexOf('/') + 1))}>
                  {adapter.id}
                </a>
              </th>
              <td>
                <Digest value={adapter.digest} />
              </td>
              <td>{projectName(adapter.source_format)}</td>
              <td class="number">{adapter.rank}</td>
              <td class="number">{bytes(adapter.bytes)}</td>
              <td class="number">{ago(adapter.updated_ms, nowMs)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
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
