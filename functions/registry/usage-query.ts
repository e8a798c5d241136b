// What may be asked of the usage records: days, a grouping from a fixed list, a format.
import * as z from 'zod/mini'

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

const day = z.string().check(z.regex(/^\d{4}-\d{2}-\d{2}$/, 'must be a day, YYYY-MM-DD'))
const names = Object.keys(DIMENSIONS) as Dimension[]

export const UsageQuery = z.object({
  /** First and last day, in UTC. */
  from: z.optional(day),
  to: z.optional(day),
  /** Dimensions separated by commas; `request`: no sums, every record. */
  group_by: z._default(
    z.string().check(
      z.refine((text) => text === 'request' || text.split(',').every((name) => names.includes(name as Dimension)), {
        message: `must be request, or some of ${names.join(', ')}, separated by commas`,
      }),
    ),
    'day,adapter',
  ),
  format: z._default(z.enum(['json', 'jsonl', 'csv']), 'json'),
})
export type UsageQuery = z.infer<typeof UsageQuery>
