// Days in UTC, as usage records are summed by.

const DAY_MS = 86_400_000
/** More bars than a screen has room for would show nothing. */
const MAX_DAYS = 366

/** The last `count` days up to and with today, as YYYY-MM-DD. */
export function lastDays(count: number, nowMs: number): string[] {
  return Array.from({ length: count }, (_, i) => dayOf(nowMs - (count - 1 - i) * DAY_MS))
}

/** Every day from `from` to `to`, both included; the last 366 of them at most, and `to` alone where it is before `from`. */
export function daysBetween(from: string, to: string): string[] {
  const span = Math.round((daySeconds(to) - daySeconds(from)) * 1000) / DAY_MS + 1
  const count = Math.min(MAX_DAYS, Math.max(1, span))
  return Array.from({ length: count }, (_, i) => dayOf(daySeconds(to) * 1000 - (count - 1 - i) * DAY_MS))
}

/** Seconds since the epoch at the day's beginning. */
export function daySeconds(day: string): number {
  return Date.parse(`${day}T00:00:00Z`) / 1000
}

function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10)
}
