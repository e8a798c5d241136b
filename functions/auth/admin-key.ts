// The operator's key, a secret of the deployment. Compared by hash, so that time tells nothing of how much was right.
import { sha256Hex } from '../../adapters/digest.ts'
import { ApiError } from '../errors.ts'
import { tryReadBearer } from './bearer.ts'

/** @throws ApiError 401; where the deployment has no admin key nothing opens the door */
export async function requireAdmin(adminKey: string | undefined, header: string | undefined): Promise<void> {
  const given = tryReadBearer(header)
  if (adminKey && given && equal(await sha256Hex(given), await sha256Hex(adminKey))) return
  throw new ApiError(
    401,
    'invalid_admin_key',
    'Incorrect admin key: send POLYLORA_ADMIN_KEY as `Authorization: Bearer`.',
  )
}

function equal(a: string, b: string): boolean {
  let difference = a.length ^ b.length
  for (let i = 0; i < Math.min(a.length, b.length); i++) difference |= a.charCodeAt(i) ^ b.charCodeAt(i)
  return difference === 0
}
