// A tenant's limits, billing and prices, to be changed.
import { useState } from 'preact/hooks'
import type { Terms } from '../../metering/terms.ts'
import { sendEdge } from '../api/edge.ts'
import { useTask } from '../loading.ts'
import { useSession } from '../session.ts'
import { Button } from '../ui/button.tsx'
import { Input, Select } from '../ui/field.tsx'
import { Form } from '../ui/form.tsx'
import { Card } from '../ui/page.tsx'
import { Failure } from '../ui/states.tsx'

/** Prices are typed for a million tokens: 0.15 is 150 billionths for each. */
const NANO_FOR_EACH = 1000

interface TermsCardProps {
  readonly path: string
  readonly terms: Terms
  onSaved(): void
}

export function TermsCard({ path, terms, onSaved }: TermsCardProps) {
  const { adminKey } = useSession().keys
  const [requests, setRequests] = useState(String(terms.requests_per_minute ?? ''))
  const [tokens, setTokens] = useState(String(terms.tokens_per_minute ?? ''))
  const [billing, setBilling] = useState<Terms['billing']>(terms.billing)
  const [prompt, setPrompt] = useState(String(terms.prompt_price_nano / NANO_FOR_EACH))
  const [cached, setCached] = useState(String(terms.cached_price_nano / NANO_FOR_EACH))
  const [completion, setCompletion] = useState(String(terms.completion_price_nano / NANO_FOR_EACH))
  const task = useTask()
  const save = async () => {
    const typed: Terms = {
      requests_per_minute: requests === '' ? null : Number(requests),
      tokens_per_minute: tokens === '' ? null : Number(tokens),
      billing,
      prompt_price_nano: Math.round(Number(prompt) * NANO_FOR_EACH),
      cached_price_nano: Math.round(Number(cached) * NANO_FOR_EACH),
      completion_price_nano: Math.round(Number(completion) * NANO_FOR_EACH),
    }
    // Nothing else: somebody may have changed the others since they were shown here.
    const changed = Object.entries(typed).filter(([field, value]) => value !== terms[field as keyof Terms])
    const done = await task.run(async () => {
      await sendEdge(adminKey, 'PATCH', path, Object.fromEntries(changed))
    })
    if (done) onSaved()
  }
  const limit = { type: 'number', min: 1, step: 1, placeholder: 'No limit' } as const
  const price = { type: 'number', min: 0, step: 0.001, required: true } as const
  return (
    <Card title="Limits and prices" about="Prices are for a million tokens, in the unit of your currency.">
      <Form class="stack" onSubmit={save}>
        <div class="options">
          <Input {...limit} label="Requests a minute" value={requests} onInput={setRequests} />
          <Input {...limit} label="Tokens a minute" value={tokens} onInput={setTokens} />
          <Select
            label="Billing"
            value={billing}
            options={{ postpaid: 'Postpaid', prepaid: 'Prepaid: refused without balance' }}
            onChange={(value) => setBilling(value === 'prepaid' ? 'prepaid' : 'postpaid')}
          />
          <Input {...price} label="Prompt" value={prompt} onInput={setPrompt} />
          <Input {...price} label="Prompt, cached" value={cached} onInput={setCached} />
          <Input {...price} label="Answer" value={completion} onInput={setCompletion} />
        </div>
        {task.error && <Failure error={task.error} />}
        <div class="actions">
          <Button kind="primary" type="submit" isBusy={task.isBusy}>
            Save
          </Button>
        </div>
      </Form>
    </Card>
  )
}
