import { describe, expect, test } from 'vitest'
import { daysBetween, lastDays } from '../../../functions/console/usage/days.ts'
import { daySums, groupName, seriesOf, sumGroups } from '../../../functions/console/usage/stack.ts'
import type { UsageRow } from '../../../functions/registry/usage-rows.ts'
import fc from '../../support/properties.ts'

const NOTHING = {
  requests: 0,
  prompt_tokens: 0,
  cached_tokens: 0,
  completion_tokens: 0,
  cold_requests: 0,
  price_nano: 0,
}
const row = (change: Partial<UsageRow>): UsageRow => ({ ...NOTHING, ...change })

describe('days', () => {
  test('run from the first to the last, over the ends of months and years', () => {
    expect(daysBetween('2027-12-30', '2028-01-02')).toEqual(['2027-12-30', '2027-12-31', '2028-01-01', '2028-01-02'])
    expect(daysBetween('2028-02-28', '2028-03-01')).toEqual(['2028-02-28', '2028-02-29', '2028-03-01'])
    expect(lastDays(2, Date.UTC(2028, 0, 1, 23, 59))).toEqual(['2027-12-31', '2028-01-01'])
  })

  test('are at least the last one, and at most a year', () => {
    expect(daysBetween('2028-01-05', '2028-01-02')).toEqual(['2028-01-02'])
    const long = daysBetween('1999-01-01', '2028-01-02')
    expect([long.length, long.at(-1)]).toEqual([366, '2028-01-02'])
  })
})

describe('groups', () => {
  test('are named by adapter with its tenant, and the bare base model by its tenant where there are several', () => {
    expect(groupName('adapter', { tenant: 'acme', adapter: 'support' })).toBe('acme/support')
    expect(groupName('adapter', { adapter: 'support' })).toBe('support')
    expect(groupName('adapter', { tenant: 'acme', adapter: '' })).toBe('acme, bare base model')
    expect(groupName('digest', { digest: `sha256:${'0123456789abcdef'.repeat(4)}` })).toBe('0123456789')
    expect(groupName('outcome', { outcome: 'complete' })).toBe('complete')
  })

  test('are one where only days were asked for, with nothing on a day without a row', () => {
    const rows = [row({ day: '2028-01-02', prompt_tokens: 3, completion_tokens: 4 })]
    expect(daySums(rows, ['2028-01-01', '2028-01-02'], 'tokens')).toEqual({ name: 'all together', values: [0, 7] })
  })

  test('add up to all that was used, however many there are, in the table and in the plot', () => {
    const days = ['2028-01-01', '2028-01-02']
    const rows = fc.array(
      fc.record({
        day: fc.constantFrom(...days),
        adapter: fc.constantFrom('', 'a', 'b', 'c', 'd', 'e', 'f', 'others'),
        requests: fc.nat(1000),
      }),
    )
    fc.assert(
      fc.property(rows, (some) => {
        const used = some.map(row)
        const all = used.reduce((sum, { requests }) => sum + requests, 0)
        const groups = sumGroups(used, 'adapter')
        expect(groups.reduce((sum, { requests }) => sum + requests, 0)).toBe(all)
        expect(groups.map(({ requests }) => requests)).toEqual(
          groups.map(({ requests }) => requests).toSorted((x, y) => y - x),
        )
        const series = seriesOf(used, days, 'adapter', 'requests')
        expect(series.length).toBeLessThanOrEqual(5)
        expect(new Set(series.map(({ name }) => name)).size).toBe(series.length)
        expect(series.flatMap(({ values }) => values).reduce((sum, value) => sum + value, 0)).toBe(all)
      }),
    )
  })
})
