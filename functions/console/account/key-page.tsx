// What the key in use may do, and what was agreed with its tenant: limits, prices, balance.
import { OwnKey } from '../../routes/account-answers.ts'
import { useAnswer } from '../api/use-edge.ts'
import { useTenant } from '../session.ts'
import { Badge } from '../ui/badge.tsx'
import { ButtonLink } from '../ui/button.tsx'
import { dateTime, limit, price } from '../ui/format.ts'
import { Card, Page } from '../ui/page.tsx'
import { WhenLoaded } from '../ui/states.tsx'
import { BaseCard } from './base-card.tsx'

const MILLION = 1e6

export function KeyPage() {
  const { apiKey } = useTenant()
  const loaded = useAnswer(apiKey, '/v1/key', OwnKey)
  return (
    <Page
      title="Key and limits"
      about="What this key opens. The operator makes, rotates and revokes keys, and agrees limits and prices."
      actions={
        <ButtonLink href="/docs" icon="book">
          API reference
        </ButtonLink>
      }
    >
      <WhenLoaded loaded={loaded}>
        {(own) => (
          <div class="columns">
            <Card title="This key">
              <dl class="facts">
                <dt>Tenant</dt>
                <dd>{own.tenant}</dd>
                <dt>Key</dt>
                <dd>
                  <code>{own.id}</code>
                </dd>
                <dt>May be used for</dt>
                <dd class="badges">
                  {own.scopes.map((scope) => (
                    <Badge key={scope} tone="info">
                      {scope}
                    </Badge>
                  ))}
                </dd>
                <dt>Expires</dt>
                <dd>{own.expires_ms === null ? 'Never' : dateTime(own.expires_ms)}</dd>
              </dl>
            </Card>
            <Card title="Limits">
              <dl class="facts">
                <dt>Requests a minute</dt>
                <dd>{limit(own.requests_per_minute)}</dd>
                <dt>Tokens a minute</dt>
                <dd>{limit(own.tokens_per_minute)}</dd>
              </dl>
            </Card>
            <Card title="Prices" about="In units of the operator’s currency, for a million tokens.">
              <dl class="facts">
                <dt>Prompt</dt>
                <dd>{price(own.prompt_price_nano * MILLION)}</dd>
                <dt>Prompt, cached</dt>
                <dd>{price(own.cached_price_nano * MILLION)}</dd>
                <dt>Answer</dt>
                <dd>{price(own.completion_price_nano * MILLION)}</dd>
              </dl>
            </Card>
            <Card title="Balance">
              <dl class="facts">
                <dt>Billing</dt>
                <dd>{own.billing === 'prepaid' ? 'Prepaid' : 'Postpaid'}</dd>
                <dt>{own.billing === 'prepaid' ? 'Left' : 'Balance'}</dt>
                <dd>{price(own.balance_nano)}</dd>
                <dt>Held for running requests</dt>
                <dd>{price(own.held_nano)}</dd>
              </dl>
            </Card>
            <BaseCard apiKey={apiKey} />
          </div>
        )}
      </WhenLoaded>
    </Page>
  )
}
