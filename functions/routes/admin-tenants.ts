// `/admin/v1/tenants`: who they are, what was agreed with them, their balance and adapters, and their deletion.
import { Hono } from 'hono'
import type { EdgeEnv } from '../edge-env.ts'
import { tryEraseTenant } from '../erase-tenant.ts'
import { ApiError, adapterNotFound } from '../errors.ts'
import { askMeterOf } from '../metering/meter-of.ts'
import { TermsChange } from '../metering/terms.ts'
import { listAdapters } from '../registry/adapters.ts'
import { setMayLeave } from '../registry/may-leave.ts'
import { fullName } from '../registry/names.ts'
import { listReceipts } from '../registry/receipts.ts'
import {
  changeTerms,
  listTenants,
  NAME_REST_MS,
  type TenantRow,
  tryCreateTenant,
  tryGetTenant,
} from '../registry/tenants.ts'
import type { Credited, Tenant, TenantWithBalance } from './account-answers.ts'
import type { MayLeave } from './adapter-answers.ts'
import { AdapterTerms, Credit, NewTenant } from './admin-requests.ts'
import { getLiveTenant, getTenant, MAX_ADMIN_BYTES, tenantNotFound } from './admin-tenant.ts'
import { describeAdapter } from './describe-adapter.ts'
import { readJson } from './read-json.ts'

export const adminTenants = new Hono<EdgeEnv>()
  .get('/', async (c) => c.json({ object: 'list', data: (await listTenants(c.env.DB)).map(describeTenant) }))
  .post('/', async (c) => {
    const { id, ...terms } = await readJson(c.req.raw, NewTenant, MAX_ADMIN_BYTES)
    const tenant = await tryCreateTenant(c.env.DB, id, terms, Date.now())
    if (!tenant) throw (await tryGetTenant(c.env.DB, id)) ? tenantExists(id) : tenantJustDeleted(id)
    return c.json(describeTenant(tenant), 201)
  })
  .get('/:tenant', async (c) => {
    const tenant = await getTenant(c.env.DB, c.req.param('tenant'))
    const balance = await askMeterOf(c.env, tenant.id, async (meter) => await meter.balance())
    return c.json<TenantWithBalance>({ ...describeTenant(tenant), ...balance })
  })
  .patch('/:tenant', async (c) => {
    const { id } = await getLiveTenant(c.env.DB, c.req.param('tenant'))
    await changeTerms(c.env.DB, id, await readJson(c.req.raw, TermsChange, MAX_ADMIN_BYTES))
    return c.json(describeTenant(await getTenant(c.env.DB, id)))
  })
  .delete('/:tenant', async (c) => {
    const id = c.req.param('tenant')
    const receipt = await tryEraseTenant(c.var.edge, c.env, id, c.var.requestId)
    if (!receipt) throw tenantNotFound(id)
    return c.json(receipt)
  })
  .get('/:tenant/receipts', async (c) => {
    return c.json({ object: 'list', data: await listReceipts(c.env.DB, c.req.param('tenant')) })
  })
  .post('/:tenant/credits', async (c) => {
    const { id, created_ms: sinceMs } = await getLiveTenant(c.env.DB, c.req.param('tenant'))
    const credit = await readJson(c.req.raw, Credit, MAX_ADMIN_BYTES)
    const nowMs = Date.now()
    const answer = await askMeterOf(
      c.env,
      id,
      async (meter) => await meter.credit(credit.id, credit.amount_nano, sinceMs, nowMs),
    )
    // Deleted while this was on its way: the next tenant of the name has not paid.
    if (answer.kind === 'erased') throw tenantNotFound(id)
    if (answer.kind === 'other_amount') {
      const message = `The payment '${credit.id}' came with another amount before: use a new id for a new payment.`
      throw new ApiError(422, 'payment_id_reused', message, { param: 'id' })
    }
    return c.json<Credited>({ tenant: id, balance_nano: answer.balanceNano })
  })
  .get('/:tenant/adapters', async (c) => {
    const { id } = await getTenant(c.env.DB, c.req.param('tenant'))
    const rows = await listAdapters(c.env.DB, id)
    return c.json({ object: 'list', data: rows.map((row) => describeAdapter(id, row)) })
  })
  .patch('/:tenant/adapters/:name', async (c) => {
    const { id } = await getLiveTenant(c.env.DB, c.req.param('tenant'))
    const adapter = { tenant: id, name: c.req.param('name') }
    const { may_leave: mayLeave } = await readJson(c.req.raw, AdapterTerms, MAX_ADMIN_BYTES)
    if (!(await setMayLeave(c.env.DB, adapter, mayLeave))) throw adapterNotFound(fullName(adapter))
    return c.json<MayLeave>({ id: fullName(adapter), object: 'adapter', may_leave: mayLeave })
  })

function tenantExists(id: string): ApiError {
  return new ApiError(409, 'tenant_exists', `The tenant '${id}' exists already.`, { param: 'id' })
}

function tenantJustDeleted(id: string): ApiError {
  const seconds = NAME_REST_MS / 1000
  const message = `A tenant '${id}' was deleted a moment ago, and its keys may be remembered still: create it again in ${seconds} s.`
  return new ApiError(409, 'tenant_just_deleted', message, { param: 'id', headers: { 'retry-after': String(seconds) } })
}

function describeTenant(tenant: TenantRow): Tenant {
  return { object: 'tenant', ...tenant }
}
