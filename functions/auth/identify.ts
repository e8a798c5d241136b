// Who sends a request. Asked when it comes, so that no stranger's body is read, and again once it has been read, before anything
// is done (for a delta also once its header has, before it is claimed): how long its body takes is the sender's choice, and
// meanwhile the key may have been revoked, or its tenant deleted and the name given to another.
import type { Context } from 'hono'
import type { EdgeEnv } from '../edge-env.ts'

/** Sets the request's principal. @throws ApiError 401 */
export async function identify(c: Context<EdgeEnv>): Promise<void> {
  const { authenticator } = c.var.edge
  const header = c.req.header('authorization')
  c.set('principal', await authenticator.authenticate(c.env.DB, header, Date.now(), c.executionCtx))
}
