// A token bucket: holds a minute's allowance, refills evenly, may fall below zero when more was used than reserved. Pure.

export interface Bucket {
  readonly level: number
  /** When the level was true, in milliseconds since the epoch. */
  readonly atMs: number
}

const MINUTE_MS = 60_000

/**
 * The bucket at `nowMs`, full where it never was used. Edges' clocks differ, so that `nowMs` may lie before the bucket's own
 * time, which never goes back: the same minute would fill it twice.
 */
export function refilled(bucket: Bucket | undefined, perMinute: number, nowMs: number): Bucket {
  if (!bucket) return { level: perMinute, atMs: nowMs }
  const elapsedMs = Math.max(0, nowMs - bucket.atMs)
  const level = Math.min(perMinute, bucket.level + (elapsedMs * perMinute) / MINUTE_MS)
  return { level, atMs: Math.max(bucket.atMs, nowMs) }
}

/** Milliseconds until the bucket holds `amount`; 0 where it does already. */
export function waitMs(bucket: Bucket, perMinute: number, amount: number): number {
  return Math.max(0, Math.ceil(((amount - bucket.level) * MINUTE_MS) / perMinute))
}
