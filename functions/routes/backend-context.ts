// A request's way to the backends, for every route that reaches a model.
import type { Context } from 'hono'
import type { EdgeEnv } from '../edge-env.ts'
import { isPublished } from '../registry/adapters.ts'
import type { BackendContext } from '../router/call-backend.ts'

export function backendContext(
  c: Context<EdgeEnv>,
  base: string,
  signal: AbortSignal,
  promptField: BackendContext['promptField'],
): BackendContext {
  const { config, backends, cachedObjects } = c.var.edge
  const { tenant } = c.var.principal
  return {
    backends,
    capabilityKey: config.capabilityKey,
    tenant,
    requestId: c.var.requestId,
    base,
    signal,
    promptField,
    objects: cachedObjects,
    isPublished: (digest) => isPublished(c.env.DB, tenant, digest),
    patienceMs: config.backendPatienceMs,
    waitUntil: (promise) => c.executionCtx.waitUntil(promise),
    nowMs: Date.now,
  }
}
