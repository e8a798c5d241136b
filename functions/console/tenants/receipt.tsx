// What the erasure of a tenant left as proof: what is gone, from where, and what was kept.
import type { Receipt } from '../../registry/receipt.ts'
import { Button } from '../ui/button.tsx'
import { count, dateTime, price } from '../ui/format.ts'
import { Card } from '../ui/page.tsx'
import { saveFile } from '../ui/save-file.ts'

export function TenantReceipt({ receipt }: { readonly receipt: Receipt }) {
  const { backend_caches: caches } = receipt
  const sum = (read: (cache: (typeof caches)[number]) => number) =>
    caches.reduce((total, cache) => total + read(cache), 0)
  const failed = sum((cache) => cache.failed)
  const save = () => {
    saveFile(new Blob([JSON.stringify(receipt, null, 2)], { type: 'application/json' }), `erased-${receipt.id}.json`)
  }
  return (
    <Card
      title="Receipt"
      about={`${receipt.id} was erased ${dateTime(receipt.erased_ms)}.`}
      actions={<Button onClick={save}>Save the receipt</Button>}
    >
      <dl class="facts">
        <dt>Keys</dt>
        <dd>{count(receipt.keys.length)}</dd>
        <dt>Adapters</dt>
        <dd>{receipt.adapters.join(', ') || 'None'}</dd>
        <dt>Files</dt>
        <dd>
          {count(receipt.objects.length)}
          {receipt.objects_later.length > 0 && `; ${count(receipt.objects_later.length)} more within the hour`}
        </dd>
        <dt>Copies on backends</dt>
        <dd>
          {count(sum((cache) => cache.evicted))} erased
          {failed > 0 && `; ${count(failed)} could not be asked, and are asked again until they answer`}
        </dd>
        <dt>Balance</dt>
        <dd>{receipt.balance_nano === null ? 'Not noted' : price(receipt.balance_nano)}</dd>
        <dt>Payments</dt>
        <dd>{count(receipt.credits.length)}</dd>
        <dt>Kept</dt>
        <dd>{receipt.kept}</dd>
      </dl>
    </Card>
  )
}
