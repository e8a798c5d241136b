// The receipts of a tenant that was erased, by the name that it had.
import { useState } from 'preact/hooks'
import { Receipt } from '../../registry/receipt.ts'
import { listOf } from '../../routes/list-of.ts'
import { readEdge } from '../api/edge.ts'
import { useTask } from '../loading.ts'
import { useSession } from '../session.ts'
import { Button } from '../ui/button.tsx'
import { Input } from '../ui/field.tsx'
import { Form } from '../ui/form.tsx'
import { Card } from '../ui/page.tsx'
import { Failure } from '../ui/states.tsx'
import { TenantReceipt } from './receipt.tsx'

export function ReceiptsCard() {
  const { adminKey } = useSession().keys
  const [id, setId] = useState('')
  const [receipts, setReceipts] = useState<readonly Receipt[]>()
  const task = useTask()
  const find = () => {
    void task.run(async () => {
      const path = `/admin/v1/tenants/${encodeURIComponent(id)}/receipts`
      setReceipts((await readEdge(adminKey, path, listOf(Receipt))).data)
    })
  }
  return (
    <>
      <Card title="Erased tenants" about="What was erased is kept as a receipt.">
        <Form class="row" onSubmit={find}>
          <Input label="Name that it had" value={id} required onInput={setId} />
          <Button type="submit" isBusy={task.isBusy} disabled={id === ''}>
            Show receipts
          </Button>
        </Form>
        {task.error && <Failure error={task.error} />}
        {receipts?.length === 0 && <p role="status">There is no receipt under this name.</p>}
      </Card>
      {receipts?.map((receipt) => (
        <TenantReceipt key={receipt.erased_ms} receipt={receipt} />
      ))}
    </>
  )
}
