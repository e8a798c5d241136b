// `GET /v1/usage`: what the caller's tenant has used, by adapter and day or otherwise; JSON, JSON lines or CSV.
// `GET /v1/usage/latency`: how long its answers took.
import { Hono } from 'hono'
import type * as z from 'zod/mini'
import { type Principal, requireScope } from '../auth/api-key.ts'
import type { EdgeEnv } from '../edge-env.ts'
import { ApiError, invalidRequest } from '../errors.ts'
import { queryLatency } from '../registry/latency.ts'
import { queryUsage, type UsageAnswer } from '../registry/usage.ts'
import { LatencyQuery, UsageQuery, type UsageScope } from '../registry/usage-query.ts'
import { listText, textBody } from './text-body.ts'
import { csvHeader, csvLine } from './usage-csv.ts'

export const usage = new Hono<EdgeEnv>()
  .get('/', async (c) => {
    requireScope(c.var.principal, 'usage')
    const query = parseUsageQuery(UsageQuery, c.req.query())
    return usageResponse(query, await queryUsage(c.env.DB, own(c.var.principal), query))
  })
  .get('/latency', async (c) => {
    requireScope(c.var.principal, 'usage')
    const query = parseUsageQuery(LatencyQuery, c.req.query())
    return c.json({ object: 'list', data: await queryLatency(c.env.DB, own(c.var.principal), query) })
  })

function own({ tenant }: Principal): UsageScope {
  return { tenant, since: 'creation', hasBackends: false }
}

/** @throws ApiError 400 naming the parameter at fault */
export function parseUsageQuery<Query>(schema: z.ZodMiniType<Query>, parameters: Record<string, string>): Query {
  const parsed = schema.safeParse(parameters)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  if (issue?.code !== 'unrecognized_keys') throw invalidRequest(parsed.error)
  const [param] = issue.keys
  throw new ApiError(400, 'unknown_parameter', `There is no query parameter '${param}' here: see /docs.`, { param })
}

const TYPES = {
  json: 'application/json',
  csv: 'text/csv; charset=utf-8',
  jsonl: 'application/jsonl; charset=utf-8',
} as const

/** Rows as they are read. Where the registry fails in between, the answer breaks off. */
export function usageResponse({ format }: UsageQuery, answer: UsageAnswer): Response {
  return new Response(textBody(usageText(format, answer)), { headers: { 'content-type': TYPES[format] } })
}

async function* usageText(format: UsageQuery['format'], { columns, pages }: UsageAnswer): AsyncGenerator<string> {
  if (format === 'json') return yield* listText({ object: 'list' }, pages)
  if (format === 'csv') yield csvHeader(columns)
  for await (const rows of pages) {
    yield rows.map((row) => (format === 'csv' ? csvLine(columns, row) : `${JSON.stringify(row)}\n`)).join('')
  }
}
