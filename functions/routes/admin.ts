// `/admin/v1`: the operator's API, opened by POLYLORA_ADMIN_KEY. Tenants and their keys; everybody's usage; the backends.
import { Hono } from 'hono'
import { requireAdmin } from '../auth/admin-key.ts'
import type { EdgeEnv } from '../edge-env.ts'
import { queryLatency } from '../registry/latency.ts'
import { publishedAs } from '../registry/published-as.ts'
import { queryUsage } from '../registry/usage.ts'
import { AdminLatencyQuery, AdminUsageQuery } from '../registry/usage-query.ts'
import { askResidency } from '../router/residency.ts'
import { adminBrowser } from './admin-browser.ts'
import { adminKeys } from './admin-keys.ts'
import { adminTenants } from './admin-tenants.ts'
import { describeHoldings, digestsOf } from './residency.ts'
import { parseUsageQuery, usageResponse } from './usage.ts'

export const admin = new Hono<EdgeEnv>()

admin.use(async (c, next) => {
  await requireAdmin(c.var.edge.config.adminKey, c.req.header('authorization'))
  await next()
  // What was changed counts at once here; other isolates follow within seconds.
  if (c.req.method === 'GET') return
  c.var.edge.authenticator.forget()
  c.var.edge.aliases.forget()
})

admin
  .route('/browser', adminBrowser)
  .route('/tenants', adminTenants)
  .route('/tenants', adminKeys)
  .get('/usage', async (c) => {
    const { tenant, since, ...query } = parseUsageQuery(AdminUsageQuery, c.req.query())
    return usageResponse(query, await queryUsage(c.env.DB, { tenant, since, hasBackends: true }, query))
  })
  .get('/usage/latency', async (c) => {
    const { tenant, since, ...query } = parseUsageQuery(AdminLatencyQuery, c.req.query())
    return c.json({ object: 'list', data: await queryLatency(c.env.DB, { tenant, since, hasBackends: true }, query) })
  })
  .get('/residency', async (c) => {
    const backends = await askResidency(c.var.edge, { tenant: 'operator', requestId: c.var.requestId })
    const names = await publishedAs(c.env.DB, undefined, digestsOf(backends))
    const data = backends.map(({ url, entries }) => ({ backend: url, ...describeHoldings(entries, names) }))
    return c.json({ object: 'list', data })
  })
