// Usage rows as stacked bars: one series for each group, the smallest ones together. Pure.
import type { UsageRow } from '../../registry/usage-rows.ts'
import { shortDigest } from '../ui/format.ts'

export const METRICS = { requests: 'Requests', tokens: 'Tokens', price: 'Cost' }
export type Metric = keyof typeof METRICS

/** What rows can be summed by, as the API names it -> as people do. */
export const GROUPS = {
  tenant: 'Tenant',
  adapter: 'Adapter',
  digest: 'Version',
  key: 'Key',
  base: 'Base model',
  outcome: 'Outcome',
}
export type GroupBy = keyof typeof GROUPS

export interface Group {
  readonly name: string
  readonly requests: number
  readonly promptTokens: number
  readonly cachedTokens: number
  readonly completionTokens: number
  readonly coldRequests: number
  readonly priceNano: number
}

export interface Series {
  readonly name: string
  /** One value for each day. */
  readonly values: readonly number[]
}

const MAX_SERIES = 5

function amountOf(metric: Metric, row: UsageRow): number {
  if (metric === 'requests') return row.requests
  if (metric === 'tokens') return row.prompt_tokens + row.completion_tokens
  return row.price_nano
}

/** What a row is counted under. The bare base model has no adapter's name; that of an adapter is its tenant's. */
export function groupName(by: GroupBy, row: { readonly [by in GroupBy]?: string | undefined }): string {
  const name = row[by]
  const isOfAdapters = by === 'adapter' || by === 'digest'
  if (!name) return isOfAdapters ? [row.tenant, 'bare base model'].filter(Boolean).join(', ') : '–'
  if (by === 'adapter') return [row.tenant, name].filter(Boolean).join('/')
  return by === 'digest' || by === 'base' ? shortDigest(name) : name
}

/** Sums by group, most requests first. */
export function sumGroups(rows: readonly UsageRow[], by: GroupBy): Group[] {
  const groups = new Map<string, Group>()
  for (const row of rows) {
    const name = groupName(by, row)
    const known = groups.get(name)
    groups.set(name, {
      name,
      requests: (known?.requests ?? 0) + row.requests,
      promptTokens: (known?.promptTokens ?? 0) + row.prompt_tokens,
      cachedTokens: (known?.cachedTokens ?? 0) + row.cached_tokens,
      completionTokens: (known?.completionTokens ?? 0) + row.completion_tokens,
      coldRequests: (known?.coldRequests ?? 0) + row.cold_requests,
      priceNano: (known?.priceNano ?? 0) + row.price_nano,
    })
  }
  return [...groups.values()].sort((x, y) => y.requests - x.requests)
}

/** All that was used on each of `days`, of rows by day alone. */
export function daySums(rows: readonly UsageRow[], days: readonly string[], metric: Metric): Series {
  const sums = new Map(rows.map((row) => [row.day, amountOf(metric, row)]))
  return { name: 'all together', values: days.map((day) => sums.get(day) ?? 0) }
}

/** The largest groups by name, then the rest as one, each with a value for each of `days`. */
export function seriesOf(rows: readonly UsageRow[], days: readonly string[], by: GroupBy, metric: Metric): Series[] {
  const names = sumGroups(rows, by).map(({ name }) => name)
  const shown = names.length > MAX_SERIES ? names.slice(0, MAX_SERIES - 1) : names
  const places = new Map(days.map((day, place) => [day, place]))
  // The rest has no name here: a group may be called so itself.
  const series = new Map<string | undefined, number[]>()
  for (const row of rows) {
    const place = places.get(row.day ?? '')
    if (place === undefined) continue
    const name = shown.find((name) => name === groupName(by, row))
    const values = series.get(name) ?? days.map(() => 0)
    values[place] = (values[place] ?? 0) + amountOf(metric, row)
    series.set(name, values)
  }
  return [...shown, undefined].flatMap((name) => {
    const values = series.get(name)
    return values ? [{ name: name ?? 'all others', values }] : []
  })
}
