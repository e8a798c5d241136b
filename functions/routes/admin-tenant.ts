// What the admin routes of one tenant share: the tenant in the path, and how large their JSON may be.
import { ApiError } from '../errors.ts'
import { type TenantRow, tryGetTenant } from '../registry/tenants.ts'

export const MAX_ADMIN_BYTES = 64 * 1024

/** @throws ApiError 404 */
export async function getTenant(db: D1Database, id: string): Promise<TenantRow> {
  const tenant = await tryGetTenant(db, id)
  if (!tenant) throw tenantNotFound(id)
  return tenant
}

/** A tenant that may be changed. @throws ApiError 404, 409 where it is being deleted */
export async function getLiveTenant(db: D1Database, id: string): Promise<TenantRow> {
  const tenant = await getTenant(db, id)
  if (tenant.deleting_ms === null) return tenant
  throw new ApiError(409, 'tenant_being_deleted', `The tenant '${id}' is being deleted: it takes no changes any more.`)
}

export function tenantNotFound(id: string): ApiError {
  return new ApiError(404, 'tenant_not_found', `There is no tenant '${id}'.`)
}
