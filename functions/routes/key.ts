// `GET /v1/key`: what the caller's own key is, and what was agreed with its tenant. Shows nothing of other keys.
import { Hono } from 'hono'
import type { EdgeEnv } from '../edge-env.ts'
import { askMeterOf } from '../metering/meter-of.ts'
import type { OwnKey } from './account-answers.ts'

export const key = new Hono<EdgeEnv>().get('/', async (c) => {
  const { tenant, keyId, scopes, terms, expiresMs } = c.var.principal
  const balance = await askMeterOf(c.env, tenant, async (meter) => await meter.balance())
  return c.json<OwnKey>({ object: 'api_key', id: keyId, tenant, scopes, expires_ms: expiresMs, ...terms, ...balance })
})
