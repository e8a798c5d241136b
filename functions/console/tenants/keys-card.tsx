// A tenant's API keys: made, replaced and revoked. A new key is shown once, here.
import { useState } from 'preact/hooks'
import { type ApiKey, NewApiKey } from '../../routes/account-answers.ts'
import { readEdge, sendEdge } from '../api/edge.ts'
import { useTask } from '../loading.ts'
import { useSession } from '../session.ts'
import { Confirm } from '../ui/confirm.tsx'
import { CopyButton } from '../ui/copy-button.tsx'
import { Select } from '../ui/field.tsx'
import { Card } from '../ui/page.tsx'
import { Empty, Failure } from '../ui/states.tsx'
import { KeyTable } from './key-table.tsx'
import { NewKey } from './new-key.tsx'

/** How long a replaced key still works, in seconds, for its users to change over. */
const OVERLAPS = { 0: 'Not at all', 3600: 'An hour', 86400: 'A day', 604800: 'A week' }

/** What the operator is asked about, before it happens. */
interface Question {
  readonly kind: 'replace' | 'revoke'
  readonly key: ApiKey
}

interface KeysCardProps {
  readonly path: string
  readonly keys: readonly ApiKey[]
  /** Resolves once the keys are shown as they are now. */
  reload(): Promise<void>
}

export function KeysCard({ path, keys, reload }: KeysCardProps) {
  const { adminKey } = useSession().keys
  const [made, setMade] = useState<readonly NewApiKey[]>([])
  const [question, setQuestion] = useState<Question>()
  const [overlap, setOverlap] = useState('3600')
  const making = useTask()

  const make = async (at: string, body: object, replaced?: ApiKey) => {
    const init = { method: 'POST', body: JSON.stringify(body) }
    const key = await readEdge(adminKey, `${path}/keys${at}`, NewApiKey, init)
    setMade((made) => [...made.filter(({ id }) => id !== replaced?.id), key])
    await reload()
  }
  const act = async ({ kind, key }: Question) => {
    const id = encodeURIComponent(key.id)
    if (kind === 'replace') return make(`/${id}/rotate`, { overlap_seconds: Number(overlap) }, key)
    await sendEdge(adminKey, 'DELETE', `${path}/keys/${id}`)
    setMade((made) => made.filter((other) => other.id !== key.id))
    await reload()
  }
  return (
    <Card title="Keys" about="Only a key’s beginning is stored, and its hash: copy a new one now.">
      <NewKey isBusy={making.isBusy} onMake={(body) => void making.run(() => make('', body))} />
      {made.map(({ id, key }) => (
        <div key={id} class="notice good" role="status">
          <div>
            <p>The new key, shown this once:</p>
            <p class="digest">
              <code>{key}</code>
              <CopyButton text={key} label="Copy the new key" />
            </p>
          </div>
        </div>
      ))}
      {making.error && <Failure error={making.error} />}
      {keys.length === 0 ? (
        <Empty icon="key" title="No key yet" />
      ) : (
        <KeyTable
          keys={keys}
          onReplace={(key) => setQuestion({ kind: 'replace', key })}
          onRevoke={(key) => setQuestion({ kind: 'revoke', key })}
        />
      )}
      {question && (
        <Confirm
          title={`${question.kind === 'replace' ? 'Replace' : 'Revoke'} ${question.key.prefix}…?`}
          action={question.kind === 'replace' ? 'Replace' : 'Revoke'}
          onConfirm={() => act(question)}
          onClose={() => setQuestion(undefined)}
        >
          {question.kind === 'replace' ? (
            <>
              <p>A new key with the same scopes and the same expiry is made, and shown once.</p>
              <Select
                label="The old key goes on working"
                value={overlap}
                options={OVERLAPS}
                hint="For those who use it to change over."
                onChange={setOverlap}
              />
            </>
          ) : (
            <p>Requests with it are refused, within seconds everywhere.</p>
          )}
        </Confirm>
      )}
    </Card>
  )
}
