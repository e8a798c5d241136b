import { expect, test } from 'vitest'

// By its address: it is written against the types of Workers, and the tests against those of Node.
const TICKET = new URL('../../../functions/metering/ticket.ts', import.meta.url).href
interface Ticket {
  begin(generation: object, nowMs: number): void
  count(event: object, nowMs: number): void
}
const { Ticket } = (await import(TICKET)) as { Ticket: new (options: object) => Ticket }
const ENV = new URL('../../../functions/env.ts', import.meta.url).href
const { meterLeaseMs } = (await import(ENV)) as { meterLeaseMs: (settings: Record<string, string>) => number }

test('a meter hears of an answer many times before it would give it up, however long it runs', () => {
  const heardMs: number[] = []
  const meter = {
    hear: async (_: object, nowMs: number) => void heardMs.push(nowMs),
  }
  const terms = { prompt_price_nano: 1, cached_price_nano: 1, completion_price_nano: 1 }
  const known = { request_id: 'req_1', started_ms: 0 }
  const ticket = new Ticket({ meter: () => meter, known, sinceMs: 0, terms, waitUntil: () => undefined })
  const started = { event: 'started', base: 'b', delta: null, tier: null, prompt_tokens: 1 }
  ticket.begin({ backend: 'x', cold: false, started }, 0)
  const endMs = 3 * meterLeaseMs({})
  for (let nowMs = 1000; nowMs <= endMs; nowMs += 1000) {
    ticket.count({ event: 'text', index: 0, text: 'x', tokens: 1 }, nowMs)
  }
  const gaps = [...heardMs, endMs].map((ms, i) => ms - (heardMs[i - 1] ?? 0))
  expect(Math.max(...gaps)).toBeLessThan(meterLeaseMs({}) / 10)
  // Each asks something of the meter.
  expect(heardMs.length).toBeLessThan(endMs / 4000)
})

test.each([
  [{}, 180_000],
  [{ BACKEND_PATIENCE_MS: '1000' }, 180_000],
  [{ BACKEND_PATIENCE_MS: '600000' }, 900_000],
  [{ BACKEND_PATIENCE_MS: '600000', METER_LEASE_MS: '2000' }, 2_000],
])('under the settings %o an edge may be silent for %i ms', (settings, leaseMs) => {
  expect(meterLeaseMs(settings)).toBe(leaseMs)
})
