// Bearer key -> who is calling. Keys are looked up by their sha256, so no comparison depends on a stored secret,
// and remembered by each isolate for a few seconds, which is how long a revoked key may live on.
import * as z from 'zod/mini'
import { sha256Hex } from '../../adapters/digest.ts'
import { ApiError, incorrectApiKey } from '../errors.ts'
import { TERMS_COLUMNS, Terms } from '../metering/terms.ts'
import { Remembered } from '../remembered.ts'
import { tryReadBearer } from './bearer.ts'
import type { Scope } from './scope.ts'

/** The caller, as far as the rest of the edge needs to know. */
export interface Principal {
  readonly tenant: string
  /** When it was created, which tells it from one of the same name that was deleted; milliseconds since the epoch. */
  readonly sinceMs: number
  readonly keyId: string
  readonly scopes: readonly string[]
  readonly terms: Terms
  /** Milliseconds since the epoch; null: never. */
  readonly expiresMs: number | null
}

const MAX_KEYS = 10_000

const KeyRow = z.object({
  id: z.string(),
  tenant: z.string(),
  created_ms: z.number(),
  scopes: z.string(),
  expires_ms: z.nullable(z.number()),
  ...Terms.shape,
})

const LOOK_UP = `SELECT k.id, k.tenant, t.created_ms, k.scopes, k.expires_ms, ${TERMS_COLUMNS.map((column) => `t.${column}`).join(', ')}
  FROM api_keys k JOIN tenants t ON t.id = k.tenant WHERE k.hash = ? AND k.revoked_ms IS NULL AND t.deleting_ms IS NULL`

/** Finds the principal of a request; one for each isolate. */
export class Authenticator {
  readonly #known = new Remembered<Principal>(MAX_KEYS)

  /**
   * The principal whose key is in `header` (`Bearer <key>`).
   * @throws ApiError 401 where there is no key, or it is unknown, revoked or expired: all refused alike
   */
  async authenticate(
    db: D1Database,
    header: string | undefined,
    nowMs: number,
    request: { waitUntil(promise: Promise<unknown>): void },
  ): Promise<Principal> {
    const key = tryReadBearer(header)
    if (!key) {
      throw new ApiError(
        401,
        header ? 'invalid_api_key' : 'missing_api_key',
        'No API key was given: send it as `Authorization: Bearer <key>`.',
      )
    }
    const hash = await sha256Hex(key)
    const principal = await this.#known.get(hash, nowMs, () => lookUp(db, hash), request)
    if (principal && (principal.expiresMs === null || principal.expiresMs > nowMs)) return principal
    throw incorrectApiKey()
  }

  /** Looks every key up again from here on. */
  forget(): void {
    this.#known.forget()
  }
}

async function lookUp(db: D1Database, hash: string): Promise<Principal | undefined> {
  const row = await db.prepare(LOOK_UP).bind(hash).first()
  if (!row) return undefined
  const { id, tenant, created_ms: sinceMs, scopes, expires_ms: expiresMs, ...terms } = KeyRow.parse(row)
  return Object.freeze({ tenant, sinceMs, keyId: id, scopes: scopes.split(' '), terms, expiresMs })
}

/** @throws ApiError 403 where the key lacks `scope` */
export function requireScope(principal: Principal, scope: Scope): void {
  if (principal.scopes.includes(scope)) return
  throw new ApiError(403, 'insufficient_scope', `This API key lacks the scope '${scope}': use a key that has it.`)
}
