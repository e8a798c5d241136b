// Usage records of long ago as sums, a row for each day, adapter, version, key, base and outcome: records one by one would fill D1.
// Invariant: what a record says is in `usage` or in a sum of `usage_days`, never in both or in neither.
import { DAY_MS } from './usage-query.ts'

/** What tells sums apart: the dimensions that may be asked for. */
const KEYS = ['tenant', 'started_ms', 'adapter', 'digest', 'key_id', 'base', 'outcome'] as const
/** What is summed up -> how a record counts for it. */
const SUMS = {
  requests: '1',
  prompt_tokens: 'prompt_tokens',
  cached_tokens: 'cached_tokens',
  completion_tokens: 'completion_tokens',
  cold_requests: 'cold',
  price_nano: 'price_nano',
} as const
/** The columns that are sums, in order. */
export const SUM_NAMES = Object.keys(SUMS)

/** Tenants that one call takes on, and records of each: D1 gives a query 30 seconds, and others wait for it meanwhile. */
const TENANTS_AT_ONCE = 50
const RECORDS_AT_ONCE = 5_000

/** `SUM(…) AS …` of everything that is summed up, over rows of `usageRows`. */
export const SUM_COLUMNS = SUM_NAMES.map((name) => `SUM(${name}) AS ${name}`).join(', ')

/** Records and sums alike, of those that `filter` (`WHERE …`, or nothing) lets through; its parameters are to be bound twice. */
export function usageRows(filter: string): string {
  const keys = KEYS.join(', ')
  const counted = Object.entries(SUMS).map(([name, value]) => `${value} AS ${name}`)
  return `SELECT ${keys}, ${counted.join(', ')} FROM usage ${filter}
    UNION ALL SELECT ${keys}, ${SUM_NAMES.join(', ')} FROM usage_days ${filter}`
}

/** Of the last `days` whole days records stay; of those before, this sums up some. Returns how many. */
export async function sumUpRecords(db: D1Database, days: number, nowMs: number): Promise<number> {
  const beforeMs = nowMs - (nowMs % DAY_MS) - days * DAY_MS
  const { results } = await db.prepare(TENANTS_WITH_OLD).bind(beforeMs).all<{ tenant: string }>()
  let summed = 0
  for (const { tenant } of results) {
    const [, removed] = await db.batch([
      db.prepare(SUM_UP).bind(tenant, beforeMs),
      db.prepare(REMOVE).bind(tenant, beforeMs),
    ])
    summed += removed?.meta.changes ?? 0
  }
  return summed
}

/** From tenant to tenant by the index: what is not old is not read. */
const TENANTS_WITH_OLD = `
  WITH RECURSIVE tenants_of_usage (tenant) AS (
    SELECT MIN(tenant) FROM usage
    UNION ALL SELECT (SELECT MIN(u.tenant) FROM usage u WHERE u.tenant > t.tenant) FROM tenants_of_usage t WHERE t.tenant IS NOT NULL
  )
  SELECT t.tenant FROM tenants_of_usage t
  WHERE EXISTS (SELECT 1 FROM usage u WHERE u.tenant = t.tenant AND u.started_ms < ?) LIMIT ${TENANTS_AT_ONCE}`

const OLDEST = `FROM usage WHERE tenant = ? AND started_ms < ? ORDER BY started_ms, rowid LIMIT ${RECORDS_AT_ONCE}`

// A tenant does not see what one of the same name had used before it: sums of the two are two, on one day, too.
const SUM_UP = `
  INSERT INTO usage_days (${[...KEYS, ...SUM_NAMES].join(', ')})
  SELECT u.tenant, MAX(u.started_ms - u.started_ms % ${DAY_MS}, CASE WHEN u.started_ms >= t.created_ms THEN t.created_ms ELSE 0 END),
    IFNULL(u.adapter, ''), IFNULL(u.digest, ''), u.key_id, u.base, u.outcome,
    ${Object.values(SUMS)
      .map((value) => `SUM(${value})`)
      .join(', ')}
  FROM (SELECT * ${OLDEST}) u LEFT JOIN tenants t ON t.id = u.tenant WHERE true
  GROUP BY ${KEYS.map((_, index) => index + 1).join(', ')}
  ON CONFLICT DO UPDATE SET ${SUM_NAMES.map((name) => `${name} = ${name} + excluded.${name}`).join(', ')}`

const REMOVE = `DELETE FROM usage WHERE rowid IN (SELECT rowid ${OLDEST})`
