// A tenant's API keys: made, replaced and revoked. A new key is shown once, here.
import { useState } from 'preact/hooks'
import { Scope } from '../../auth/scope.ts'
import { ApiKey, listOf, NewApiKey } from '../api/answers.ts'
import { readEdge, sendEdge } from '../api/edge.ts'
import { useLoaded, useTask } from '../loading.ts'
import { useSession } from '../session.ts'
import { Badge } from '../ui/badge.tsx'
import { Button } from '../ui/button.tsx'
import { Confirm } from '../ui/confirm.tsx'
import { CopyButton } from '../ui/copy-button.tsx'
import { Check, Input } from '../ui/field.tsx'
import { dateTime } from '../ui/format.ts'
import { Card } from '../ui/page.tsx'
import { Empty, Failure, WhenLoaded } from '../ui/states.tsx'

/** So long a replaced key still works, for its users to change over. */
const OVERLAP_SECONDS = 3600

export function KeysCard({ path }: { readonly path: string }) {
  const { adminKey } = useSession().keys
  const loaded = useLoaded(
    async (signal) => (await readEdge(adminKey, `${path}/keys`, listOf(ApiKey), { signal })).data,
    [adminKey, path],
  )
  const [made, setMade] = useState<string>()
  const [revoking, setRevoking] = useState<ApiKey>()
  const task = useTask()
  const revocation = useTask()

  const make = (at: string, body: object) => {
    void task.run(async () => {
      const init = { method: 'POST', body: JSON.stringify(body) }
      setMade((await readEdge(adminKey, `${path}/keys${at}`, NewApiKey, init)).key)
      loaded.reload()
    })
  }
  const revoke = async (key: ApiKey) => {
    const done = await revocation.run(async () => {
      await sendEdge(adminKey, 'DELETE', `${path}/keys/${encodeURIComponent(key.id)}`)
    })
    if (!done) return
    setRevoking(undefined)
    loaded.reload()
  }
  return (
    <Card title="Keys" about="Only a key’s beginning is stored, and its hash: copy a new one now.">
      {made && (
        <div class="notice good" role="status">
          <div>
            <p>The new key, shown this once:</p>
            <p class="digest">
              <code>{made}</code>
              <CopyButton text={made} label="Copy the new key" />
            </p>
          </div>
        </div>
      )}
      {task.error && <Failure error={task.error} />}
      <WhenLoaded loaded={loaded}>
        {(keys) =>
          keys.length === 0 ? (
            <Empty icon="key" title="No key yet" />
          ) : (
            <KeyTable
              keys={keys}
              isBusy={task.isBusy}
              onReplace={(key) => make(`/${encodeURIComponent(key.id)}/rotate`, { overlap_seconds: OVERLAP_SECONDS })}
              onRevoke={setRevoking}
            />
          )
        }
      </WhenLoaded>
      <NewKey isBusy={task.isBusy} onMake={(body) => make('', body)} />
      {revoking && (
        <Confirm
          title={`Revoke ${revoking.prefix}…?`}
          action="Revoke"
          task={revocation}
          onConfirm={() => void revoke(revoking)}
          onClose={() => setRevoking(undefined)}
        >
          <p>Requests with it are refused, within seconds everywhere.</p>
        </Confirm>
      )}
    </Card>
  )
}

interface KeyTableProps {
  readonly keys: readonly ApiKey[]
  readonly isBusy: boolean
  onReplace(key: ApiKey): void
  onRevoke(key: ApiKey): void
}

function KeyTable({ keys, isBusy, onReplace, onRevoke }: KeyTableProps) {
  const nowMs = Date.now()
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr>
            <th scope="col">Key</th>
            <th scope="col">For</th>
            <th scope="col">State</th>
            <th scope="col">Made</th>
            <th scope="col">
              <span class="unseen">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {keys.map((key) => (
            <tr key={key.id}>
              <th scope="row">
                <code>{key.prefix}…</code>
              </th>
              <td>{key.scopes.join(', ')}</td>
              <td>
                <KeyState apiKey={key} nowMs={nowMs} />
              </td>
              <td>{dateTime(key.created_ms)}</td>
              <td>
                {isAlive(key, nowMs) && (
                  <div class="actions end">
                    <Button disabled={isBusy} label={`Replace ${key.prefix}`} onClick={() => onReplace(key)}>
                      Replace
                    </Button>
                    <Button kind="danger" label={`Revoke ${key.prefix}`} onClick={() => onRevoke(key)}>
                      Revoke
                    </Button>
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

function isAlive(key: ApiKey, nowMs: number): boolean {
  return key.revoked_ms === null && (key.expires_ms === null || key.expires_ms > nowMs)
}

function KeyState({ apiKey, nowMs }: { readonly apiKey: ApiKey; readonly nowMs: number }) {
  if (apiKey.revoked_ms !== null) return <Badge tone="bad">Revoked</Badge>
  if (apiKey.expires_ms === null) return <Badge tone="good">Active</Badge>
  if (apiKey.expires_ms <= nowMs) return <Badge>Expired</Badge>
  return <Badge tone="warn">Until {dateTime(apiKey.expires_ms)}</Badge>
}

interface NewKeyProps {
  readonly isBusy: boolean
  onMake(body: { scopes: readonly Scope[]; expires_ms: number | null }): void
}

function NewKey({ isBusy, onMake }: NewKeyProps) {
  const [scopes, setScopes] = useState<readonly Scope[]>(Scope.options)
  const [expires, setExpires] = useState('')
  return (
    <form
      class="row"
      onSubmit={(event) => {
        event.preventDefault()
        onMake({ scopes, expires_ms: expires === '' ? null : Date.parse(`${expires}T00:00:00Z`) })
      }}
    >
      <fieldset class="choices">
        <legend>A new key for</legend>
        {Scope.options.map((scope) => (
          <Check
            key={scope}
            label={scope}
            checked={scopes.includes(scope)}
            onChange={(on) => setScopes(on ? [...scopes, scope] : scopes.filter((other) => other !== scope))}
          />
        ))}
      </fieldset>
      <Input label="Expires" type="date" value={expires} onInput={setExpires} />
      <Button kind="primary" type="submit" icon="key" isBusy={isBusy} disabled={scopes.length === 0}>
        Make key
      </Button>
    </form>
  )
}
