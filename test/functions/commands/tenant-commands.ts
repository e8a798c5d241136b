// Tenants come and go, pay, and get keys.
import { expect } from 'vitest'
import { freeName } from '../../support/free-name.ts'
import type { KeyState, Prices, TenantState } from './model.ts'
import { type Command, type Run, STALE_MS, type Step } from './run.ts'

const SCOPES = ['inference', 'adapters', 'usage']
const PRICES: readonly Prices[] = [
  { billing: 'postpaid', prompt: 3, cached: 1, completion: 10 },
  { billing: 'prepaid', prompt: 100, cached: 10, completion: 1000 },
]
const AMOUNTS_NANO = [1_000_000, 500, -300, 20_000]

/** Makes a tenant that pays one way or the other, with a key of all scopes. */
export async function createTenant(
  run: Run,
  { pick, edge: at, fault }: Step,
): Promise<(() => Promise<void>) | undefined> {
  const id = ['a', 'b', 'c'].map((letter) => `${run.id}-${letter}`).find((id) => !run.tenants.some((t) => t.id === id))
  if (id === undefined) return undefined
  const edge = run.world.edges[at % 2]!
  const prices = PRICES[pick % 2]!
  const last = run.deleted.findLast((tenant) => tenant.id === id)
  if (last && Date.now() - last.deletedMs! > STALE_MS) await freeName(edge, id)
  const terms = {
    ...{ billing: prices.billing, prompt_price_nano: prices.prompt },
    ...{ cached_price_nano: prices.cached, completion_price_nano: prices.completion },
  }
  const { status, body } = await edge.admin('POST', '/tenants', { id, ...terms })
  if (last && JSON.stringify(body).includes('tenant_just_deleted')) return undefined
  if (status !== 201) return void expect(fault, String(status)).not.toBeNull()
  return async () => {
    const tenant: TenantState = {
      ...{
        id,
        number: run.tenants.length + run.deleted.length,
        prices,
        keys: [],
        names: new Map(),
        deletedMs: undefined,
      },
      ...{ credits: new Map(), answered: [], unfinished: new Set(), kept: new Map() },
    }
    const made = await edge.admin('POST', `/tenants/${id}/keys`, { scopes: SCOPES })
    tenant.keys.push(keyState(made.body))
    run.tenants.push(tenant)
  }
}

const deleteTenant: Command = async ({ run, step, tenant, edge }) => {
  const { status } = await edge.admin('DELETE', `/tenants/${tenant.id}`)
  return async () => {
    if (status !== 200) {
      expect(step.fault, String(status)).not.toBeNull()
      // As the sweep does later.
      expect((await edge.admin('DELETE', `/tenants/${tenant.id}`)).status).toBeOneOf([200, 404])
    }
    bury(run, tenant)
    for (const { secret } of tenant.keys) expect((await edge.call(secret, '/v1/key')).status).toBe(401)
  }
}

function bury(run: Run, tenant: TenantState): void {
  tenant.deletedMs = Date.now()
  run.tenants.splice(run.tenants.indexOf(tenant), 1)
  run.deleted.push(tenant)
}

const credit: Command = async ({ run, step, tenant }) => {
  const [id, amount] = [`c${step.pick % 3}`, AMOUNTS_NANO[step.pick % 4]!]
  // The meter that its answers are charged at: here each edge has its own.
  const [edge] = run.world.edges
  const { status } = await edge.admin('POST', `/tenants/${tenant.id}/credits`, { id, amount_nano: amount })
  const known = tenant.credits.get(id)
  expect(status).toBe(known === undefined || known === amount ? 200 : 422)
  if (status === 200) tenant.credits.set(id, amount)
  return undefined
}

/** A key with fewer scopes; or the end of one. */
const keys: Command = async ({ run, step, tenant }) => {
  const [edge] = run.world.edges
  const path = `/tenants/${tenant.id}/keys`
  const extra = tenant.keys[1 + (step.pick % 3)]
  if (extra) {
    expect((await edge.admin('DELETE', `${path}/${extra.id}`)).status).toBe(204)
    extra.revoked = true
  } else {
    const { status, body } = await edge.admin('POST', path, { scopes: [SCOPES[step.pick % 3]] })
    expect(status).toBe(201)
    tenant.keys.push(keyState(body))
  }
  return async () => {
    for (const key of tenant.keys) {
      const { status } = await edge.call(key.secret, '/v1/usage')
      expect(status).toBe(key.revoked ? 401 : key.scopes.includes('usage') ? 200 : 403)
    }
  }
}

function keyState({ id, key, scopes }: Record<string, unknown>): KeyState {
  return { id: String(id), secret: String(key), scopes: scopes as string[], revoked: false }
}

const sweep: Command = async ({ step, edge }) => {
  await edge.sweep(Date.now() + (step.pick % 3) * 300_000)
  return undefined
}

export const TENANT_COMMANDS: Readonly<Record<string, Command>> = { deleteTenant, credit, keys, sweep }
