// The operator's tenants: the list with a form for a new one, or one of them, as the address says.
import { useState } from 'preact/hooks'
import { Tenant } from '../../routes/account-answers.ts'
import { sendEdge } from '../api/edge.ts'
import { useList } from '../api/use-edge.ts'
import { useTask } from '../loading.ts'
import { goTo, linkTo } from '../router.ts'
import { useSession } from '../session.ts'
import { Badge } from '../ui/badge.tsx'
import { Button } from '../ui/button.tsx'
import { Input } from '../ui/field.tsx'
import { Form } from '../ui/form.tsx'
import { dateTime, limit } from '../ui/format.ts'
import { Card, Page } from '../ui/page.tsx'
import { Empty, Failure, WhenLoaded } from '../ui/states.tsx'
import { Table } from '../ui/table.tsx'
import { ReceiptsCard } from './receipts-card.tsx'
import { TenantPage } from './tenant-page.tsx'

export function TenantsPage({ rest: [id] }: { readonly rest: readonly string[] }) {
  return id === undefined ? <TenantList /> : <TenantPage key={id} id={id} />
}

function TenantList() {
  const { adminKey } = useSession().keys
  const loaded = useList(adminKey, '/admin/v1/tenants', Tenant)
  return (
    <Page title="Tenants" about="Who may use this deployment, with what limits and at what prices.">
      <NewTenant />
      <WhenLoaded loaded={loaded}>
        {(tenants) => (
          <>
            <Card>
              {tenants.length > 0 ? <TenantTable tenants={tenants} /> : <Empty icon="people" title="No tenant yet" />}
            </Card>
            <ReceiptsCard />
          </>
        )}
      </WhenLoaded>
    </Page>
  )
}

function NewTenant() {
  const { adminKey } = useSession().keys
  const [id, setId] = useState('')
  const task = useTask()
  const create = async () => {
    const done = await task.run(async () => {
      await sendEdge(adminKey, 'POST', '/admin/v1/tenants', { id })
    })
    if (done) goTo('tenants', id)
  }
  return (
    <Form class="card" onSubmit={create}>
      {task.error && <Failure error={task.error} />}
      <div class="row">
        <Input
          label="New tenant"
          value={id}
          required
          pattern="[a-z0-9][a-z0-9._\-]*"
          hint="Small letters, digits, dots and dashes; it begins every model’s name."
          onInput={setId}
        />
        <Button kind="primary" type="submit" isBusy={task.isBusy} disabled={id === ''}>
          Create tenant
        </Button>
      </div>
    </Form>
  )
}

function TenantTable({ tenants }: { readonly tenants: readonly Tenant[] }) {
  return (
    <Table
      caption="Tenants"
      rows={tenants}
      keyOf={({ id }) => id}
      columns={[
        {
          title: 'Tenant',
          cell: ({ id }) => (
            <a class="strong" href={linkTo('tenants', id)}>
              {id}
            </a>
          ),
        },
        {
          title: 'Billing',
          cell: ({ billing }) => <Badge tone={billing === 'prepaid' ? 'info' : 'none'}>{billing}</Badge>,
        },
        { title: 'Requests a minute', kind: 'number', cell: (tenant) => limit(tenant.requests_per_minute) },
        { title: 'Tokens a minute', kind: 'number', cell: (tenant) => limit(tenant.tokens_per_minute) },
        { title: 'Since', kind: 'number', cell: (tenant) => dateTime(tenant.created_ms) },
      ]}
    />
  )
}
