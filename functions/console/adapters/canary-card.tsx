// The canary: what share of the requests another version gets.
import { useEffect, useId, useState } from 'preact/hooks'
import type { Adapter } from '../../routes/adapter-answers.ts'
import { Button } from '../ui/button.tsx'
import { Digest } from '../ui/digest.tsx'
import { Card } from '../ui/page.tsx'
import type { AdapterActions } from './adapter-actions.ts'

interface CanaryCardProps {
  readonly adapter: Adapter
  readonly actions: AdapterActions
}

export function CanaryCard({ adapter, actions }: CanaryCardProps) {
  const { canary } = adapter
  const id = useId()
  const current = canary ? toPercent(canary.weight) : 0
  const [share, setShare] = useState(current)
  useEffect(() => setShare(current), [canary?.digest, current])
  if (!canary) return null
  return (
    <Card
      title="Canary"
      about="Each end user (the request’s user field) always stays on one side. Pointing the name anywhere ends it."
      actions={
        <>
          <Button isBusy={actions.task.isBusy} onClick={actions.endCanary}>
            End canary
          </Button>
          <Button disabled={actions.task.isBusy} onClick={() => actions.pointAt(canary.digest, adapter.digest)}>
            Promote
          </Button>
        </>
      }
    >
      <div class="canary">
        <Digest value={adapter.digest} />
        <div class="field">
          <label for={id}>Requests that the canary gets: {share} %</label>
          <input
            id={id}
            type="range"
            min={0}
            max={100}
            step={1}
            value={share}
            aria-valuetext={`${share} percent`}
            onInput={(event) => setShare(Number(event.currentTarget.value))}
          />
        </div>
        <Digest value={canary.digest} />
        <Button
          kind="primary"
          isBusy={actions.task.isBusy}
          disabled={share === current}
          onClick={() => actions.setCanary(canary.digest, share / 100)}
        >
          Set share
        </Button>
      </div>
    </Card>
  )
}

/** To a tenth: 0.07 times 100 is a little more than 7. */
function toPercent(weight: number): number {
  return Math.round(weight * 1000) / 10
}
