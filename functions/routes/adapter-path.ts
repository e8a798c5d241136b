// The adapter in the path of a route under `/v1/adapters`.
import type { Context } from 'hono'
import type { EdgeEnv } from '../edge-env.ts'
import { ApiError, adapterNotFound } from '../errors.ts'
import { type AdapterName, fullName, Name } from '../registry/names.ts'

/** @throws ApiError 404 where it is another tenant's, as where it doesn't exist; 400 where it is no name */
export function ownAdapter(c: Context<EdgeEnv, `/:tenant/:name${string}`>): AdapterName {
  const [tenant, name] = [c.req.param('tenant'), c.req.param('name')]
  if (tenant !== c.var.principal.tenant) throw adapterNotFound(fullName({ tenant, name }))
  const parsed = Name.safeParse(name)
  if (parsed.success) return { tenant, name }
  const message = `The adapter's name '${name}' ${parsed.error.issues[0]?.message}.`
  throw new ApiError(400, 'invalid_value', message, { param: 'name' })
}
