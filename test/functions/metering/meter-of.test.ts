import { expect, test } from 'vitest'

// By its address: it is written against the types of Workers, and the tests against those of Node.
const METER_OF = new URL('../../../functions/metering/meter-of.ts', import.meta.url).href
const { askMeter } = (await import(METER_OF)) as {
  askMeter: (meter: () => object, ask: (meter: object) => Promise<unknown>, about: object) => Promise<unknown>
}

// As Cloudflare marks the errors of its Durable Objects.
test.each([
  { what: 'is being moved', mark: { retryable: true }, times: 2 },
  { what: 'has too much to do', mark: { overloaded: true }, times: 1 },
])('a meter that $what is asked $times times', async ({ mark, times }) => {
  let [stubs, asked] = [0, 0]
  const ask = async () => {
    asked++
    throw Object.assign(new Error('Durable Object'), mark)
  }
  const refused = askMeter(() => ({ stub: stubs++ }), ask, {})
  await expect(refused).rejects.toMatchObject({ status: 503, code: 'meter_unavailable' })
  expect([stubs, asked]).toEqual([times, times])
})
