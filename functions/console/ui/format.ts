// Numbers, times and names as people read them.

/** Billionths in the currency's unit. */
export const NANO = 1e9

/** Such as `1.5 MB`; powers of ten. */
export function bytes(value: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  const power = Math.min(units.length - 1, value < 1 ? 0 : Math.floor(Math.log10(value) / 3))
  return `${(value / 1000 ** power).toLocaleString('en', { maximumFractionDigits: power === 0 ? 0 : 1 })} ${units[power]}`
}

export function count(value: number): string {
  return value.toLocaleString('en', value >= 1e5 ? { notation: 'compact', maximumFractionDigits: 1 } : {})
}

/** Billionths of the currency's unit as units; the currency is the operator's. */
export function price(nano: number): string {
  if (nano === 0) return '0'
  // Whichever says more: a balance to the hundredth, a token's price to its fourth digit.
  return (nano / NANO).toLocaleString('en', {
    maximumSignificantDigits: 4,
    maximumFractionDigits: 2,
    roundingPriority: 'morePrecision',
  })
}

export function limit(value: number | null): string {
  return value === null ? 'No limit' : count(value)
}

export function milliseconds(value: number | null): string {
  if (value === null) return '–'
  return value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(value < 10_000 ? 2 : 1)} s`
}

/** `sha256:` and the digits that tell versions apart. */
export function shortDigest(digest: string): string {
  return digest.replace(/^sha256:/, '').slice(0, 10)
}

/** A model's name, of a version (`tenant/name@sha256:…`) the digits that tell it apart. */
export function shortModel(model: string): string {
  const [name = '', digest] = model.split('@')
  return digest === undefined ? name : `${name} @ ${shortDigest(digest)}`
}

export function dateTime(ms: number): string {
  return new Date(ms).toLocaleString('en', { dateStyle: 'medium', timeStyle: 'short' })
}

/** Such as `3 minutes ago`. */
export function ago(ms: number, nowMs: number): string {
  const seconds = Math.round((ms - nowMs) / 1000)
  const format = new Intl.RelativeTimeFormat('en', { numeric: 'auto' })
  const steps = [
    ['second', 60],
    ['minute', 60],
    ['hour', 24],
    ['day', 365],
  ] as const
  let value = seconds
  for (const [unit, size] of steps) {
    if (Math.abs(value) < size) return format.format(value, unit)
    value = Math.round(value / size)
  }
  return format.format(value, 'year')
}

export function percent(share: number): string {
  return `${(share * 100).toLocaleString('en', { maximumFractionDigits: 1 })} %`
}
