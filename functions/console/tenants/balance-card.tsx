// What a tenant has paid in less what it used, and adding to it.
import { useState } from 'preact/hooks'
import { sendEdge } from '../api/edge.ts'
import { useTask } from '../loading.ts'
import { useSession } from '../session.ts'
import { Button } from '../ui/button.tsx'
import { Input } from '../ui/field.tsx'
import { Form } from '../ui/form.tsx'
import { NANO, price } from '../ui/format.ts'
import { Card } from '../ui/page.tsx'
import { Failure } from '../ui/states.tsx'

/** What the edge still counts to the billionth. */
const MAX_AMOUNT = Math.floor(Number.MAX_SAFE_INTEGER / NANO)

interface BalanceCardProps {
  readonly path: string
  readonly balance: { readonly balance_nano: number; readonly held_nano: number }
  onPaid(): void
}

export function BalanceCard({ path, balance, onPaid }: BalanceCardProps) {
  const { adminKey } = useSession().keys
  const [amount, setAmount] = useState('')
  const [id, setId] = useState('')
  const task = useTask()
  const pay = async () => {
    const done = await task.run(async () => {
      await sendEdge(adminKey, 'POST', `${path}/credits`, { id, amount_nano: Math.round(Number(amount) * NANO) })
    })
    if (!done) return
    setAmount('')
    setId('')
    onPaid()
  }
  return (
    <Card
      title={`Balance: ${price(balance.balance_nano)}`}
      about={`${price(balance.held_nano)} of it held for requests that run now.`}
    >
      <Form class="row" onSubmit={pay}>
        <Input
          label="Amount"
          type="number"
          step="any"
          min={-MAX_AMOUNT}
          max={MAX_AMOUNT}
          value={amount}
          required
          hint="Negative to take away."
          onInput={setAmount}
        />
        <Input label="Payment’s id" value={id} required hint="The same id counts once." onInput={setId} />
        <Button type="submit" isBusy={task.isBusy} disabled={amount === '' || id === ''}>
          Add credit
        </Button>
      </Form>
      {task.error && <Failure error={task.error} />}
    </Card>
  )
}
