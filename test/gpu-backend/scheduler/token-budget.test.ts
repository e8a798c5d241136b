import { expect, test } from 'vitest'
import { TokenBudget } from '../../../gpu-backend/scheduler/token-budget.ts'
import fc from '../../support/properties.ts'

interface Holder {
  held: number
  readonly most: number
}

/** Whether each of `holders` can get its most once those before it have ended, and their tokens come back. */
function allCanEnd(holders: readonly Holder[], tokens: number): boolean {
  let free = tokens - holders.reduce((sum, { held }) => sum + held, 0)
  return holders.every(({ held, most }) => {
    const enough = free >= most - held
    free += held
    return enough
  })
}

test('a holder gets tokens exactly where all of them can still end, one after another', () => {
  const event = fc.record({
    kind: fc.constantFrom('enter', 'grow', 'leave'),
    which: fc.nat(),
    held: fc.integer({ min: 1, max: 40 }),
    most: fc.integer({ min: 1, max: 60 }),
  })
  let refused = 0
  fc.assert(
    fc.property(
      fc.array(event, { minLength: 30, maxLength: 60 }),
      fc.integer({ min: 40, max: 120 }),
      (events, tokens) => {
        const budget = new TokenBudget<Holder>(tokens)
        const holders: Holder[] = []
        for (const { kind, which, ...wanted } of events) {
          const index = which % Math.max(1, holders.length)
          const holder = holders[index]
          if (kind === 'enter') {
            const added = { most: Math.max(wanted.held, wanted.most), held: wanted.held }
            const fits = allCanEnd([...holders, added], tokens)
            expect(budget.enter(added, added.held, added.most, 0)).toBe(fits)
            if (fits) holders.push(added)
            else refused++
          } else if (holder && kind === 'grow' && holder.held < holder.most) {
            const held = Math.min(holder.most, holder.held + wanted.held)
            const grown = holders.map((one) => (one === holder ? { ...one, held } : one))
            const fits = allCanEnd(grown, tokens)
            expect(budget.grow(holder, held, 0)).toBe(fits)
            if (fits) holder.held = held
            else refused++
            if (index === 0) expect(fits).toBe(true)
          } else if (holder && kind === 'leave') {
            budget.leave(holder)
            holders.splice(index, 1)
          }
          expect([...budget.holders()]).toEqual(holders)
          expect(holders.map((one) => budget.heldBy(one))).toEqual(holders.map(({ held }) => held))
        }
      },
    ),
  )
  expect(refused).toBeGreaterThan(100)
})

test('tokens that are to be spared are left, to a new holder as to one that grows', () => {
  const budget = new TokenBudget<string>(100)
  expect(budget.enter('first', 10, 50, 90)).toBe(true)
  expect(budget.enter('second', 30, 40, 21)).toBe(false)
  expect(budget.enter('second', 30, 40, 20)).toBe(true)
  expect(budget.grow('second', 40, 11)).toBe(false)
  expect(budget.grow('second', 40, 10)).toBe(true)
  expect(budget.enter('third', 10, 10, 0)).toBe(true)
  expect(budget.enter('fourth', 1, 1, 0)).toBe(false)
  expect(budget.grow('first', 50, 1000)).toBe(true)
  budget.leave('third')
  budget.leave('nobody')
  expect(budget.enter('fourth', 10, 10, 0)).toBe(true)
})

test('what could never be held by anybody does not enter', () => {
  expect(new TokenBudget<string>(100).enter('one', 1, 101, 0)).toBe(false)
})
