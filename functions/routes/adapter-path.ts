// What the routes under `/v1/adapters` share: the adapter in the path, and an adapter as JSON.
import type { Context } from 'hono'
import type { EdgeEnv } from '../edge-env.ts'
import { ApiError, adapterNotFound } from '../errors.ts'
import type { AdapterName, AdapterRow, VersionRow } from '../registry/adapters.ts'
import { Name } from '../registry/names.ts'
import { type AdapterSummary, DeltaSummary, type Version } from './adapter-answers.ts'

/** A version as the API shows it. */
export function describe(adapter: AdapterName, { digest, bytes, header, created_ms }: VersionRow): Version {
  const summary = DeltaSummary.parse(JSON.parse(header))
  return { id: fullName(adapter), object: 'adapter', digest, bytes, ...summary, created_ms }
}

/** An adapter as lists show it: the version that it points at, and whether its deltas may leave the edge. */
export function describeAdapter(tenant: string, row: AdapterRow): AdapterSummary {
  const version = describe({ tenant, name: row.name }, row)
  return { ...version, updated_ms: row.updated_ms, may_leave: row.may_leave === 1 }
}

/** The adapter in the path. @throws ApiError 404 where it is another tenant's, as where it doesn't exist; 400 where it is no name */
export function ownAdapter(c: Context<EdgeEnv, `/:tenant/:name${string}`>): AdapterName {
  const [tenant, name] = [c.req.param('tenant'), c.req.param('name')]
  if (tenant !== c.var.principal.tenant) throw adapterNotFound(`${tenant}/${name}`)
  const parsed = Name.safeParse(name)
  if (parsed.success) return { tenant, name }
  const message = `The adapter's name '${name}' ${parsed.error.issues[0]?.message}.`
  throw new ApiError(400, 'invalid_value', message, { param: 'name' })
}

export function fullName({ tenant, name }: AdapterName): string {
  return `${tenant}/${name}`
}
