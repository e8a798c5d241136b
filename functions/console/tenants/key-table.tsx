// A tenant's keys by what may be shown of them, and what can be done with those that still work.
import type { ApiKey } from '../../routes/account-answers.ts'
import { Badge } from '../ui/badge.tsx'
import { Button } from '../ui/button.tsx'
import { dateTime } from '../ui/format.ts'
import { Table } from '../ui/table.tsx'

interface KeyTableProps {
  readonly keys: readonly ApiKey[]
  onReplace(key: ApiKey): void
  onRevoke(key: ApiKey): void
}

export function KeyTable({ keys, onReplace, onRevoke }: KeyTableProps) {
  const nowMs = Date.now()
  return (
    <Table
      caption="Keys"
      rows={keys}
      keyOf={({ id }) => id}
      columns={[
        { title: 'Key', cell: ({ prefix }) => <code>{prefix}…</code> },
        { title: 'For', cell: ({ scopes }) => scopes.join(', ') },
        { title: 'State', cell: (key) => <KeyState apiKey={key} nowMs={nowMs} /> },
        { title: 'Made', cell: (key) => dateTime(key.created_ms) },
        {
          title: 'Actions',
          kind: 'actions',
          cell: (key) =>
            isAlive(key, nowMs) && (
              <div class="actions end">
                <Button label={`Replace ${key.prefix}`} onClick={() => onReplace(key)}>
                  Replace
                </Button>
                <Button kind="danger" label={`Revoke ${key.prefix}`} onClick={() => onRevoke(key)}>
                  Revoke
                </Button>
              </div>
            ),
        },
      ]}
    />
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
