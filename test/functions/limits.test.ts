import { DatabaseSync } from 'node:sqlite'
import { describe, expect, test } from 'vitest'
import { KeptAnswers } from '../../functions/metering/kept-answers.ts'
import { Limits } from '../../functions/metering/limits.ts'
import type { Terms } from '../../functions/metering/terms.ts'
import fc from '../support/properties.ts'

declare global {
  /** What of them is used here: the types of Workers and those of Node exclude each other. */
  interface DurableObjectStorage {
    list<Value>(options: { prefix: string }): Promise<Map<string, Value>>
    put(key: string, value: unknown, options: object): unknown
  }
  interface SqlStorage {
    exec<Row>(sql: string, ...values: (string | number | null)[]): Iterable<Row> & { toArray(): Row[]; one(): Row }
  }
}

/** What limits use of a Durable Object's storage. */
function keyStorage(): DurableObjectStorage {
  const values = new Map<string, unknown>()
  return {
    list: async <Value>() => new Map(values) as Map<string, Value>,
    put: (key, value) => values.set(key, value),
  }
}

/** What the meter's other parts use of it, over SQLite. */
function sqlStorage(): SqlStorage {
  const db = new DatabaseSync(':memory:')
  const exec = (sql: string, ...values: (string | number | null)[]) => {
    const [first, ...others] = sql.split(';').filter((text) => text.trim() !== '')
    const rows = db.prepare(first!).all(...values)
    for (const text of others) db.exec(text)
    return Object.assign(rows.values(), { toArray: () => rows, one: () => rows[0] })
  }
  return { exec } as SqlStorage
}

describe('limits', () => {
  const PER_MINUTE = 600
  const TERMS: Terms = {
    requests_per_minute: PER_MINUTE,
    tokens_per_minute: null,
    billing: 'postpaid',
    prompt_price_nano: 0,
    cached_price_nano: 0,
    completion_price_nano: 0,
  }

  test.each([0, 20, 200, 5_000])('hold for edges whose clocks are %i ms apart', (behindMs) => {
    const limits = new Limits(keyStorage())
    const MINUTES = 10
    let granted = 0
    for (let ms = 1e6; ms < 1e6 + MINUTES * 60_000; ms += 20) {
      for (const nowMs of [ms, ms - behindMs]) if (!limits.take(TERMS, 0, nowMs)) granted++
    }
    // A full bucket at the beginning, and what flows in.
    expect(granted).toBeLessThanOrEqual((MINUTES + 1) * PER_MINUTE)
    expect(granted).toBeGreaterThan(MINUTES * PER_MINUTE)
  })

  test('let no more tokens be used than flow in, whatever is reserved and used of it, and whenever they are loaded again', async () => {
    const terms = { ...TERMS, requests_per_minute: null, tokens_per_minute: PER_MINUTE }
    const request = fc.record({ reserved: fc.nat(PER_MINUTE), share: fc.nat(100), afterMs: fc.nat(30_000) })
    const property = fc.asyncProperty(fc.array(request), fc.nat(100), async (requests, reloadAt) => {
      const storage = keyStorage()
      let limits = new Limits(storage)
      let [nowMs, used] = [1e6, 0]
      for (const [index, { reserved, share, afterMs }] of requests.entries()) {
        if (index === reloadAt) {
          limits = new Limits(storage)
          await limits.load()
        }
        const isGranted = !limits.take(terms, reserved, nowMs)
        // Time passes while it runs, in which the bucket may fill.
        nowMs += afterMs
        if (isGranted) {
          const ofIt = Math.floor((reserved * share) / 100)
          limits.correct(terms, ofIt - reserved, nowMs)
          used += ofIt
        }
        const { remaining, resetMs } = limits.rate(terms, nowMs).tokens!
        expect(remaining).toBeLessThanOrEqual(PER_MINUTE)
        expect(resetMs).toBeLessThanOrEqual(60_000)
        expect(used).toBeLessThanOrEqual(PER_MINUTE + ((nowMs - 1e6) / 60_000) * PER_MINUTE)
      }
    })
    await fc.assert(property)
  })
})

describe('an answer that is kept for its Idempotency-Key', () => {
  const KEY = { key: 'k', fingerprint: 'f' }
  const idle = () => false

  test('is no longer there, nor its key taken, once it is too old', () => {
    const answers = new KeptAnswers(sqlStorage())
    answers.claim(KEY, 'req_1', 1000)
    answers.keep(KEY, [])
    expect(answers.oldestMs()).toBe(1000)
    expect(answers.find(KEY, 1000, idle)).toMatchObject({ kind: 'replay' })
    expect(answers.find({ ...KEY, fingerprint: 'g' }, 1000, idle)).toEqual({ kind: 'other_request' })
    expect(answers.find({ ...KEY, fingerprint: 'g' }, 1001, idle)).toBeUndefined()
    expect(answers.oldestMs()).toBeUndefined()
  })

  test('that is still being made is never too old', () => {
    const answers = new KeptAnswers(sqlStorage())
    answers.claim(KEY, 'req_1', 1000)
    expect(answers.find(KEY, 5000, (id) => id === 'req_1')).toEqual({ kind: 'in_progress' })
  })
})
