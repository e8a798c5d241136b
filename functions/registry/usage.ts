// What was used, summed up from D1's usage records and the sums of older ones, or record by record.
// Invariant: every value reaches SQL as a bound parameter; the grouping is chosen from a fixed list.
import { ApiError } from '../errors.ts'
import { USAGE_COLUMNS } from '../metering/usage-record.ts'
import { SUM_COLUMNS, SUM_NAMES, usageRows } from './usage-days.ts'
import {
  checkRows,
  DAY_MS,
  DIMENSIONS,
  type Dimension,
  dimensionsOf,
  type UsageFilter,
  type UsageQuery,
  type UsageScope,
  usageFilter,
} from './usage-query.ts'
import type { OwnUsageRecord, UsageRow } from './usage-rows.ts'

/** Sums are read at once. */
const MAX_SUMS = 50_000
/**
 * Records are read page by page: 400 queries, of the 1,000 that an invocation may ask of D1, and 19 s of processor, of 30. D1 is
 * full with ten times as many.
 */
const MAX_RECORDS = 2_000_000
/** So many records at once: 50,000 and their text take more than 100 MB, and all requests of an isolate share 128. */
const PAGE_ROWS = 5_000

/** Some rows at a time. */
export type UsagePages = Iterable<UsagePage> | AsyncIterable<UsagePage>
type UsagePage = UsageRow[] | OwnUsageRecord[]

export interface UsageAnswer {
  /** The fields of a row, in order, also where there is none. */
  readonly columns: readonly string[]
  readonly pages: UsagePages
}

/**
 * Sums, or with `group_by=request` the records themselves, which are read as they are taken.
 * @throws ApiError 400 where there are more rows than one answer holds, or records are asked for of which only sums are kept:
 * a bill must not lack some of them in silence
 */
export async function queryUsage(
  db: D1Database,
  scope: UsageScope,
  query: UsageQuery,
  maxRecords: number = MAX_RECORDS,
): Promise<UsageAnswer> {
  const { filter, values } = usageFilter(scope, query)
  if (query.group_by === 'request') {
    await checkKept(db, { filter, values })
    const counted = db.prepare(`SELECT COUNT(*) AS n FROM (SELECT 1 FROM usage ${filter} LIMIT ${maxRecords + 1})`)
    checkRows((await counted.bind(...values).first<number>('n')) ?? 0, maxRecords)
    const columns = USAGE_COLUMNS.filter((column) => scope.hasBackends || column !== 'backend')
    return { columns, pages: readRecords(db, scope, columns, { filter, values }) }
  }
  const dimensions = dimensionsOf(query.group_by)
  const { results } = await db
    .prepare(`${sums(dimensions, filter)} LIMIT ${MAX_SUMS + 1}`)
    .bind(...values, ...values)
    .all<UsageRow>()
  checkRows(results.length, MAX_SUMS)
  return { columns: [...dimensions, ...SUM_NAMES], pages: [results] }
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

/**
 * By time; everybody's by tenant before that. An index has either order: a page costs what is in it. Throws as `checkKept`
 * where some were summed up meanwhile.
 */
async function* readRecords(
  db: D1Database,
  scope: UsageScope,
  columns: readonly string[],
  { filter, values }: UsageFilter,
): AsyncGenerator<OwnUsageRecord[]> {
  const order = [...(scope.tenant === undefined ? (['tenant'] as const) : []), 'started_ms', 'request_id'] as const
  const select = (after: string) =>
    db.prepare(`SELECT ${columns.join(', ')} FROM usage ${after} ORDER BY ${order.join(', ')} LIMIT ${PAGE_ROWS}`)
  const beyond = `${filter ? `${filter} AND` : 'WHERE'} (${order.join(', ')}) > (${order.map(() => '?').join(', ')})`
  for (let last: OwnUsageRecord | undefined; ; ) {
    const page = last
      ? select(beyond).bind(...values, ...order.map((column) => last![column]))
      : select(filter).bind(...values)
    const { results } = await page.all<OwnUsageRecord>()
    yield results
    last = results.at(-1)
    if (!last || results.length < PAGE_ROWS) return checkKept(db, { filter, values })
  }
}

function sums(dimensions: readonly Dimension[], filter: string): string {
  const columns = dimensions.map((name) => `${DIMENSIONS[name]} AS "${name}"`)
  const positions = dimensions.map((_, index) => index + 1).join(', ')
  return `SELECT ${columns.join(', ')}, ${SUM_COLUMNS} FROM (${usageRows(filter)})
    GROUP BY ${positions} ORDER BY ${positions}`
}
