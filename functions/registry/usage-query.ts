// What may be asked of the usage records: days, a grouping from a fixed list, a format; and how much is answered at once.
// Invariant: every value reaches SQL as a bound parameter, and a parameter that is not known is refused: a bill for a misspelt
// `from` would be one for all time.
import * as z from 'zod/mini'
import { ApiError } from '../errors.ts'

/** Dimension -> the SQL that gives it. */
export const DIMENSIONS = {
  tenant: 'tenant',
  day: "strftime('%Y-%m-%d', started_ms / 1000, 'unixepoch')",
  adapter: "IFNULL(adapter, '')",
  digest: "IFNULL(digest, '')",
  key: 'key_id',
  base: 'base',
  outcome: 'outcome',
} as const
export type Dimension = keyof typeof DIMENSIONS

const day = z.iso.date('must be a day, YYYY-MM-DD')
const names = Object.keys(DIMENSIONS).join(', ')

/** First and last day, in UTC. */
const DayRange = z.object({ from: z.optional(day), to: z.optional(day) })
type DayRange = z.infer<typeof DayRange>

const isDimension = (name: string): name is Dimension => Object.hasOwn(DIMENSIONS, name)
const areDimensions = (text: string) => text.split(',').every(isDimension)

/** Dimensions separated by commas; `request`: no sums, every record. */
const GroupBy = z.string().check(
  z.refine((text) => text === 'request' || areDimensions(text), {
    message: `must be request, or some of ${names}, separated by commas`,
  }),
)

export const UsageQuery = z.strictObject({
  ...DayRange.shape,
  group_by: z._default(GroupBy, 'day,adapter'),
  format: z._default(z.enum(['json', 'jsonl', 'csv']), 'json'),
})
export type UsageQuery = z.infer<typeof UsageQuery>

export const LatencyQuery = z.strictObject({
  ...DayRange.shape,
  /** Dimensions separated by commas; absent: one row for all. */
  group_by: z.optional(
    z.string().check(z.refine(areDimensions, { message: `must be some of ${names}, separated by commas` })),
  ),
})
export type LatencyQuery = z.infer<typeof LatencyQuery>

/**
 * The operator's questions are about one tenant, or everybody; with `since=creation` of tenants that there are alone, and of each
 * only since it was created: a bill must not hold what one that had its name before had used.
 */
const aboutTenant = { tenant: z.optional(z.string()), since: z.optional(z.literal('creation')) }
export const AdminUsageQuery = z.strictObject({
  ...aboutTenant,
  ...UsageQuery.shape,
  group_by: z._default(GroupBy, 'tenant,day'),
})
export const AdminLatencyQuery = z.strictObject({ ...aboutTenant, ...LatencyQuery.shape })

export const DAY_MS = 86_400_000

/** Whose records are asked for: all where `tenant` is undefined. */
export interface UsageScope {
  readonly tenant: string | undefined
  /** `creation`: nothing of a tenant that is gone, though its name may have been given again. */
  readonly since: 'creation' | undefined
  /** Whether where the backends are is told: to the operator alone. */
  readonly hasBackends: boolean
}

/** `WHERE …`, or nothing, and its parameters. */
export interface UsageFilter {
  readonly filter: string
  readonly values: readonly (string | number)[]
}

/** The records of some days that are within the scope. */
export function usageFilter({ tenant, since }: UsageScope, { from, to }: DayRange): UsageFilter {
  const conditions: string[] = []
  const values: (string | number)[] = []
  const where = (condition: string, ...bound: (string | number)[]) => {
    conditions.push(condition)
    values.push(...bound)
  }
  const sinceCreationOf = (id: string) => `started_ms >= (SELECT created_ms FROM tenants WHERE id = ${id})`
  if (tenant !== undefined) where('tenant = ?', tenant)
  // One tenant's is read once; everybody's once a row.
  if (since && tenant !== undefined) where(sinceCreationOf('?'), tenant)
  else if (since) where(sinceCreationOf('tenant'))
  if (from) where('started_ms >= ?', Date.parse(`${from}T00:00:00Z`))
  if (to) where('started_ms < ?', Date.parse(`${to}T00:00:00Z`) + DAY_MS)
  return { filter: conditions.length > 0 ? `WHERE ${conditions.join(' AND ')}` : '', values }
}

/** @throws ApiError 400 where there are more than `most` */
export function checkRows(count: number, most: number): void {
  if (count <= most) return
  const sentence = `There are more than ${most} rows: ask for fewer days (from, to), or group by less (group_by).`
  throw new ApiError(400, 'too_many_rows', sentence, { param: 'from' })
}

export function dimensionsOf(groupBy: string): Dimension[] {
  return [...new Set(groupBy.split(',').filter(isDimension))]
}
