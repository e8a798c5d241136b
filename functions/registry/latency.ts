// How long answers took, as percentiles of D1's usage records. Only complete answers count.
// Method: nearest rank; the p-th percentile of n values is the smallest that at least p·n of them do not exceed.
import { checkRows, DIMENSIONS, dimensionsOf, type LatencyQuery, type UsageScope, usageFilter } from './usage-query.ts'
import type { LatencyRow } from './usage-rows.ts'

const PERCENTILES = [50, 95, 99] as const
/** Column of `usage` -> what it is: time to the first text, and to the end of the answer, both from the request's arrival. */
const TIMES = ['ttft_ms', 'latency_ms'] as const
const MAX_ROWS = 10_000

/** Rows with `requests` and `<time>_p<percentile>`. Throws as `queryUsage`. */
export async function queryLatency(db: D1Database, scope: UsageScope, query: LatencyQuery): Promise<LatencyRow[]> {
  const { filter, values } = usageFilter(scope, query)
  const dimensions = query.group_by === undefined ? [] : dimensionsOf(query.group_by)
  const partition = dimensions.length > 0 ? `PARTITION BY ${dimensions.map((name) => DIMENSIONS[name]).join(', ')}` : ''
  const names = dimensions.map((name) => `"${name}"`)
  const ranked = [
    ...dimensions.map((name) => `${DIMENSIONS[name]} AS "${name}"`),
    ...TIMES.flatMap((time) => [
      time,
      `ROW_NUMBER() OVER (${partition} ORDER BY ${time} NULLS LAST) AS ${time}_rank`,
      `COUNT(${time}) OVER (${partition}) AS ${time}_count`,
    ]),
  ]
  const columns = [
    ...names,
    'COUNT(*) AS requests',
    ...TIMES.flatMap((time) =>
      PERCENTILES.map(
        (p) => `MIN(CASE WHEN ${time}_rank * 100 >= ${p} * ${time}_count THEN ${time} END) AS ${time}_p${p}`,
      ),
    ),
  ]
  const group = names.length > 0 ? `GROUP BY ${names.join(', ')} ORDER BY ${names.join(', ')}` : ''
  const complete = `${filter ? `${filter} AND` : 'WHERE'} outcome = 'complete'`
  const { results } = await db
    .prepare(
      `SELECT ${columns.join(', ')} FROM (SELECT ${ranked.join(', ')} FROM usage ${complete}) ${group} LIMIT ${MAX_ROWS + 1}`,
    )
    .bind(...values)
    .all<LatencyRow>()
  checkRows(results.length, MAX_ROWS)
  return results
}
