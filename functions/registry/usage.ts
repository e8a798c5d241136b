// What was used, summed up from D1's usage records and the sums of older ones, or record by record.
// Invariant: every value reaches SQL as a bound parameter; the grouping is chosen from a fixed list.
import { ApiError } from '../errors.ts'
import { USAGE_COLUMNS } from '../metering/usage-record.ts'
import { SUM_COLUMNS, usageRows } from './usage-days.ts'
import {
  checkRows,
  DAY_MS,
  DIMENSIONS,
  dimensionsOf,
  type UsageFilter,
  type UsageQuery,
  type UsageScope,
  usageFilter,
} from './usage-query.ts'
import type { OwnUsageRecord, UsageRow } from './usage-rows.ts'

const MAX_ROWS = 50_000
/** So many records at once: 50,000 and their text take more than 100 MB, and all requests of an isolate share 128. */
const PAGE_ROWS = 5_000

/** Some rows at a time. */
export type UsagePages = Iterable<UsagePage> | AsyncIterable<UsagePage>
type UsagePage = UsageRow[] | OwnUsageRecord[]

/**
 * Sums, or with `group_by=request` the records themselves, which are read as they are taken.
 * @throws ApiError 400 where there are more rows than one answer holds, or records are asked for of which only sums are kept:
 * a bill must not lack some of them in silence
 */
export async function queryUsage(db: D1Database, scope: UsageScope, query: UsageQuery): Promise<UsagePages> {
  const { filter, values } = usageFilter(scope, query)
  if (query.group_by === 'request') {
    await checkKept(db, { filter, values })
    const counted = db.prepare(`SELECT COUNT(*) AS n FROM (SELECT 1 FROM usage ${filter} LIMIT ${MAX_ROWS + 1})`)
    checkRows((await counted.bind(...values).first<number>('n')) ?? 0, MAX_ROWS)
    return readRecords(db, scope, { filter, values })
  }
  const { results } = await db
    .prepare(`${sums(query.group_by, filter)} LIMIT ${MAX_ROWS + 1}`)
    .bind(...values, ...values)
    .all<UsageRow>()
  checkRows(results.length, MAX_ROWS)
  return [results]
}

/** @throws ApiError 400 where some of the records are kept as sums alone */
async function checkKept(db: D1Database, { filter, values }: UsageFilter): Promise<void> {
  const newest = db.prepare(`SELECT MAX(started_ms) AS ms FROM usage_days ${filter}`)
  const ms = await newest.bind(...values).first<number | null>('ms')
  if (ms === null) return
  const [last, next] = [ms, ms + DAY_MS].map((time) => new Date(time).toISOString().slice(0, 10))
  const sentence = `Up to ${last} sums are kept, and no single requests: ask with from=${next}, or with another group_by.`
  throw new ApiError(400, 'records_summed_up', sentence, { param: 'from' })
}

/** By time; everybody's by tenant before that. An index has either order: a page costs what is in it. */
async function* readRecords(
  db: D1Database,
  scope: UsageScope,
  { filter, values }: UsageFilter,
): AsyncGenerator<OwnUsageRecord[]> {
  const columns = USAGE_COLUMNS.filter((column) => !(scope.own && column === 'backend')).join(', ')
  const order = [...(scope.tenant === undefined ? (['tenant'] as const) : []), 'started_ms', 'request_id'] as const
  const select = (after: string) =>
    db.prepare(`SELECT ${columns} FROM usage ${after} ORDER BY ${order.join(', ')} LIMIT ${PAGE_ROWS}`)
  const beyond = `${filter ? `${filter} AND` : 'WHERE'} (${order.join(', ')}) > (${order.map(() => '?').join(', ')})`
  for (let last: OwnUsageRecord | undefined; ; ) {
    const page = last
      ? select(beyond).bind(...values, ...order.map((column) => last![column]))
      : select(filter).bind(...values)
    const { results } = await page.all<OwnUsageRecord>()
    yield results
    last = results.at(-1)
    if (!last || results.length < PAGE_ROWS) return
  }
}

function sums(groupBy: string, filter: string): string {
  const dimensions = dimensionsOf(groupBy)
  const columns = dimensions.map((name) => `${DIMENSIONS[name]} AS "${name}"`)
  const positions = dimensions.map((_, index) => index + 1).join(', ')
  return `SELECT ${columns.join(', ')}, ${SUM_COLUMNS} FROM (${usageRows(filter)})
    GROUP BY ${positions} ORDER BY ${positions}`
}
