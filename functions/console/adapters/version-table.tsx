// Every stored version of a name, and which of them answers.
import type { Adapter } from '../api/answers.ts'
import { Badge } from '../ui/badge.tsx'
import { Button } from '../ui/button.tsx'
import { Digest } from '../ui/digest.tsx'
import { bytes, dateTime, percent, shortDigest } from '../ui/format.ts'
import type { AdapterActions } from './adapter-page.tsx'
import { projectName } from './report.ts'

const FIRST_SHARE = 0.1

interface VersionTableProps {
  readonly adapter: Adapter
  readonly actions: AdapterActions
}

export function VersionTable({ adapter, actions }: VersionTableProps) {
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr>
            <th scope="col">Version</th>
            <th scope="col">Answers</th>
            <th scope="col">Published</th>
            <th scope="col">Made with</th>
            <th scope="col" class="number">
              Rank
            </th>
            <th scope="col" class="number">
              Size
            </th>
            <th scope="col">
              <span class="unseen">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {adapter.versions.map((version) => (
            <tr key={version.digest}>
              <th scope="row">
                <Digest value={version.digest} />
              </th>
              <td>
                <Share adapter={adapter} digest={version.digest} />
              </td>
              <td>{dateTime(version.created_ms)}</td>
              <td>{projectName(version.source_format)}</td>
              <td class="number">{version.rank}</td>
              <td class="number">{bytes(version.bytes)}</td>
              <td>
                {version.digest !== adapter.digest && (
                  <div class="actions end">
                    <Button
                      disabled={actions.task.isBusy}
                      label={`Point the name at ${shortDigest(version.digest)}`}
                      onClick={() => actions.pointAt(version.digest, adapter.digest)}
                    >
                      Point here
                    </Button>
                    {version.digest !== adapter.canary?.digest && (
                      <Button
                        disabled={actions.task.isBusy}
                        label={`Try ${shortDigest(version.digest)} as canary`}
                        onClick={() => actions.setCanary(version.digest, FIRST_SHARE)}
                      >
                        Canary
                      </Button>
                    )}
                  </div>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
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
