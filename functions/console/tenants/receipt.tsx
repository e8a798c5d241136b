// What the erasure of a tenant left as proof: what is gone, from where, and what was kept.
import type { TenantErasure } from '../api/answers.ts'
import { linkTo } from '../router.ts'
import { Button, ButtonLink } from '../ui/button.tsx'
import { count, dateTime } from '../ui/format.ts'
import { Card } from '../ui/page.tsx'
import { saveFile } from '../ui/save-file.ts'

interface ReceiptProps {
  readonly receipt: TenantErasure
  /** The receipt as the edge wrote it: what is saved is this, to the last field. */
  readonly text: string
}

export function Receipt({ receipt, text }: ReceiptProps) {
  const { backend_caches: caches } = receipt
  const sum = (read: (cache: (typeof caches)[number]) => number) =>
    caches.reduce((total, cache) => total + read(cache), 0)
  const failed = sum((cache) => cache.failed)
  const save = () => saveFile(new Blob([text], { type: 'application/json' }), `erased-${receipt.id}.json`)
  return (
    <Card
      title="Receipt"
      about={`Erased ${dateTime(receipt.erased_ms)}. It is shown this once.`}
      actions={
        <>
          <Button kind="primary" onClick={save}>
            Save the receipt
          </Button>
          <ButtonLink href={linkTo('tenants')}>All tenants</ButtonLink>
        </>
      }
    >
      <dl class="facts">
        <dt>Keys</dt>
        <dd>{count(receipt.keys.length)}</dd>
        <dt>Adapters</dt>
        <dd>{receipt.adapters.join(', ') || 'None'}</dd>
        <dt>Files</dt>
        <dd>{count(receipt.objects.length)}</dd>
        <dt>Copies on backends</dt>
        <dd>
          {count(sum((cache) => cache.evicted))} erased
          {failed > 0 && `; ${count(failed)} could not be asked, and are asked again until they answer`}
        </dd>
        <dt>Kept</dt>
        <dd>{receipt.kept}</dd>
      </dl>
    </Card>
  )
}
