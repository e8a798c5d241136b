import { setTimeout as sleep } from 'node:timers/promises'

const DAY_MS = 86_400_000
const ENOUGH_MS = 60_000

/** Today in UTC, with enough of it left for a test: shortly before midnight this waits for the next day. */
export async function sameDay(): Promise<string> {
  const leftMs = DAY_MS - (Date.now() % DAY_MS)
  if (leftMs < ENOUGH_MS) await sleep(leftMs)
  return new Date().toISOString().slice(0, 10)
}
