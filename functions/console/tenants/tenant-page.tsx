// One tenant, for the operator: limits and prices, balance, keys, and erasing it.
import { useState } from 'preact/hooks'
import { Terms } from '../../metering/terms.ts'
import { Receipt } from '../../registry/receipt.ts'
import { ApiKey, TenantWithBalance } from '../../routes/account-answers.ts'
import { AdapterSummary } from '../../routes/adapter-answers.ts'
import { listOf } from '../../routes/list-of.ts'
import { readEdge } from '../api/edge.ts'
import { useLoaded } from '../loading.ts'
import { linkTo } from '../router.ts'
import { useSession } from '../session.ts'
import { Button, ButtonLink } from '../ui/button.tsx'
import { Confirm } from '../ui/confirm.tsx'
import { Card, Page } from '../ui/page.tsx'
import { Failure, WhenLoaded } from '../ui/states.tsx'
import { AdaptersCard } from './adapters-card.tsx'
import { BalanceCard } from './balance-card.tsx'
import { KeysCard } from './keys-card.tsx'
import { TenantReceipt } from './receipt.tsx'
import { TermsCard } from './terms-card.tsx'

export function TenantPage({ id }: { readonly id: string }) {
  const { adminKey } = useSession().keys
  const path = `/admin/v1/tenants/${encodeURIComponent(id)}`
  // All of it at once: a card that came later would move those below it from under the pointer.
  const loaded = useLoaded(
    async (signal) => {
      const [tenant, keys, adapters] = await Promise.all([
        readEdge(adminKey, path, TenantWithBalance, { signal }),
        readEdge(adminKey, `${path}/keys`, listOf(ApiKey), { signal }),
        readEdge(adminKey, `${path}/adapters`, listOf(AdapterSummary), { signal }),
      ])
      return { tenant, keys: keys.data, adapters: adapters.data }
    },
    [adminKey, path],
  )
  const [isErasing, setErasing] = useState(false)
  const [erased, setErased] = useState<Receipt>()
  const erase = async () => setErased(await readEdge(adminKey, path, Receipt, { method: 'DELETE' }))
  if (erased) {
    return (
      <Page
        title={`${id} is erased`}
        takesFocus
        about="The edge keeps the receipt: it is found again by the tenant’s name."
        actions={
          <ButtonLink href={linkTo('tenants')} icon="back">
            All tenants
          </ButtonLink>
        }
      >
        <TenantReceipt receipt={erased} />
      </Page>
    )
  }
  return (
    <Page
      title={id}
      actions={
        <ButtonLink href={linkTo('tenants')} icon="back">
          All tenants
        </ButtonLink>
      }
    >
      <WhenLoaded loaded={loaded}>
        {({ tenant, keys, adapters }) => (
          <>
            {tenant.deleting_ms !== null && (
              <Failure
                error={
                  new Error(
                    'Its erasure broke off; its keys are refused. The edge finishes it by itself, or erase it again.',
                  )
                }
              />
            )}
            <KeysCard path={path} keys={keys} reload={loaded.reload} />
            <TermsCard key={JSON.stringify(Terms.parse(tenant))} path={path} terms={tenant} onSaved={loaded.reload} />
            <BalanceCard path={path} balance={tenant} onPaid={loaded.reload} />
            <AdaptersCard path={path} adapters={adapters} reload={loaded.reload} />
            <Card
              title="Erase"
              about="The tenant with its keys, adapters and their files, here and on the backends. Usage records stay, for the books."
              actions={
                <Button kind="danger" onClick={() => setErasing(true)}>
                  Erase tenant
                </Button>
              }
            />
          </>
        )}
      </WhenLoaded>
      {isErasing && (
        <Confirm title={`Erase ${id}?`} action="Erase for ever" onConfirm={erase} onClose={() => setErasing(false)}>
          <p>Its keys stop working at once, and its adapters are deleted. There is no way back.</p>
        </Confirm>
      )}
    </Page>
  )
}
