// What was used, summed up from D1's usage records, or record by record.
// Invariant: every value reaches SQL as a bound parameter; the grouping is chosen from a fixed list.
import { USAGE_COLUMNS, type UsageRecord } from '../metering/usage-record.ts'
import { checkRows, DIMENSIONS, dimensionsOf, type UsageQuery, type UsageScope, usageFilter } from './usage-query.ts'
import type { OwnUsageRecord, UsageRow } from './usage-rows.ts'

const MAX_ROWS = 50_000

/**
 * Sums, or with `group_by=request` the records themselves.
 * @throws ApiError 400 where there are more rows than one answer holds: a bill must not lack some of them in silence
 */
export async function queryUsage(
  db: D1Database,
  scope: UsageScope,
  query: UsageQuery,
): Promise<UsageRow[] | OwnUsageRecord[]> {
  const { filter, values } = usageFilter(scope, query)
  const { results } = await db
    .prepare(`${selection(query.group_by, filter, scope.own)} LIMIT ${MAX_ROWS + 1}`)
    .bind(...values)
    .all<UsageRow & UsageRecord>()
  return checkRows(results, MAX_ROWS)
}

function selection(groupBy: string, filter: string, own: boolean): string {
  if (groupBy === 'request') {
    const columns = USAGE_COLUMNS.filter((column) => !(own && column === 'backend'))
    return `SELECT ${columns.join(', ')} FROM usage ${filter} ORDER BY started_ms, request_id`
  }
  const dimensions = dimensionsOf(groupBy)
  const columns = dimensions.map((name) => `${DIMENSIONS[name]} AS "${name}"`)
  const positions = dimensions.map((_, index) => index + 1).join(', ')
  return `SELECT ${columns.join(', ')}, COUNT(*) AS requests, SUM(prompt_tokens) AS prompt_tokens,
    SUM(cached_tokens) AS cached_tokens, SUM(completion_tokens) AS completion_tokens, SUM(cold) AS cold_requests,
    SUM(price_nano) AS price_nano FROM usage ${filter} GROUP BY ${positions} ORDER BY ${positions}`
}

/** RFC 4180, with a header line. Cells that a spreadsheet would run as a formula are kept from it. */
export function toCsv(rows: readonly Readonly<Record<string, string | number | null | undefined>>[]): string {
  const columns = Object.keys(rows[0] ?? {})
  const cell = (value: string | number | null | undefined): string => {
    if (typeof value === 'number') return String(value)
    const text = value ?? ''
    const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
  }
  return [columns.join(','), ...rows.map((row) => columns.map((column) => cell(row[column])).join(','))]
    .map((line) => `${line}\r\n`)
    .join('')
}
