// Days in UTC, as usage records are summed by.

const DAY_MS = 86_400_000

/** The last `count` days up to and with today, as YYYY-MM-DD. */
export function lastDays(count: number, nowMs: number): string[] {
  return Array.from({ length: count }, (_, i) => new Date(nowMs - (count - 1 - i) * DAY_MS).toISOString().slice(0, 10))
}

/** Seconds since the epoch at the day's beginning. */
export function daySeconds(day: string): number {
  return Date.parse(`${day}T00:00:00Z`) / 1000
}
