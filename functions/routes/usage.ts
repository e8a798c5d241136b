// `GET /v1/usage`: what the caller's tenant has used, by adapter and day or otherwise; JSON, JSON lines or CSV.
import { Hono } from 'hono'
import { requireScope } from '../auth/api-key.ts'
import type { EdgeEnv } from '../env.ts'
import { invalidRequest } from '../errors.ts'
import { queryUsage, toCsv, type UsageRow } from '../registry/usage.ts'
import { UsageQuery } from '../registry/usage-query.ts'

export const usage = new Hono<EdgeEnv>().get('/', async (c) => {
  requireScope(c.var.principal, 'usage')
  const query = parseUsageQuery(c.req.query())
  return usageResponse(query, await queryUsage(c.env.DB, c.var.principal.tenant, query))
})

/** @throws ApiError 400 naming the parameter at fault */
export function parseUsageQuery(parameters: Record<string, string>): UsageQuery {
  const parsed = UsageQuery.safeParse(parameters)
  if (!parsed.success) throw invalidRequest(parsed.error)
  return parsed.data
}

export function usageResponse({ format }: UsageQuery, rows: readonly UsageRow[]): Response {
  if (format === 'json') return Response.json({ object: 'list', data: rows })
  if (format === 'csv') return new Response(toCsv(rows), { headers: { 'content-type': 'text/csv; charset=utf-8' } })
  const lines = rows.map((row) => `${JSON.stringify(row)}\n`).join('')
  return new Response(lines, { headers: { 'content-type': 'application/jsonl; charset=utf-8' } })
}
