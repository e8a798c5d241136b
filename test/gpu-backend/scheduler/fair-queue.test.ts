import { describe, expect, test } from 'vitest'
import { FairQueue } from '../../../gpu-backend/scheduler/fair-queue.ts'
import fc from '../../support/properties.ts'

interface Item {
  readonly id: number
  readonly tenant: string
}

const arrivals = fc
  .array(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 40 })
  .map((tenants) => tenants.map((tenant, id): Item => ({ id, tenant })))

const always = () => true

function queueOf(items: readonly Item[]): FairQueue<Item> {
  const queue = new FairQueue<Item>()
  for (const item of items) queue.push(item)
  return queue
}

function drain(queue: FairQueue<Item>, isReady: (item: Item) => boolean = always): Item[] {
  const taken: Item[] = []
  for (let item = queue.take(isReady); item; item = queue.take(isReady)) taken.push(item)
  return taken
}

function byTenant(items: readonly Item[]): Record<string, number[]> {
  const ids: Record<string, number[]> = {}
  for (const { tenant, id } of items) ids[tenant] = [...(ids[tenant] ?? []), id]
  return ids
}

describe('the fair queue', () => {
  test('gives tenants their turns one after another, however many items one of them has', () => {
    const items = ['a', 'a', 'a', 'b', 'c', 'b'].map((tenant, id) => ({ id, tenant }))
    expect(drain(queueOf(items)).map(({ id }) => id)).toEqual([0, 3, 4, 1, 5, 2])
  })

  test('lets every item out once, in the order of arrival within its tenant', () => {
    fc.assert(
      fc.property(arrivals, (items) => {
        const queue = queueOf(items)
        expect(queue.size).toBe(items.length)
        const taken = drain(queue)
        expect(queue.size).toBe(0)
        expect(byTenant(taken)).toEqual(byTenant(items))
      }),
    )
  })

  test('starves nobody: between two turns of a tenant, no other has more than one', () => {
    fc.assert(
      fc.property(arrivals, (items) => {
        const order = drain(queueOf(items)).map(({ tenant }) => tenant)
        for (const [i, tenant] of order.entries()) {
          const next = order.indexOf(tenant, i + 1)
          const between = order.slice(i + 1, next < 0 ? i + 1 : next)
          expect(new Set(between).size).toBe(between.length)
        }
      }),
    )
  })

  test('passes over a tenant whose item is not ready, which then comes first', () => {
    const queue = queueOf(['a', 'b', 'b'].map((tenant, id) => ({ id, tenant })))
    expect(queue.take(({ tenant }) => tenant !== 'a')?.id).toBe(1)
    expect(queue.take(({ tenant }) => tenant !== 'a')?.id).toBe(2)
    expect(queue.take(({ tenant }) => tenant !== 'a')).toBeUndefined()
    queue.push({ id: 3, tenant: 'b' })
    expect(queue.take(always)?.id).toBe(0)
  })

  test('never lets a later item of a tenant pass an earlier one that is not ready', () => {
    fc.assert(
      fc.property(arrivals, fc.array(fc.nat(40)), (items, notReady) => {
        const queue = queueOf(items)
        const first = drain(queue, ({ id }) => !notReady.includes(id))
        expect(byTenant([...first, ...drain(queue)])).toEqual(byTenant(items))
      }),
    )
  })

  test('names the next item of each tenant in the order of turns', () => {
    const queue = queueOf(['a', 'b', 'a', 'c'].map((tenant, id) => ({ id, tenant })))
    expect(queue.heads().map(({ id }) => id)).toEqual([0, 1, 3])
    queue.take(always)
    expect(queue.heads().map(({ id }) => id)).toEqual([1, 3, 2])
  })

  test('removes what matches and nothing else, and keeps the order of the rest', () => {
    fc.assert(
      fc.property(arrivals, fc.func(fc.boolean()), (items, chosen) => {
        const matches = ({ id }: Item) => chosen(id)
        const queue = queueOf(items)
        expect(new Set(queue.find(matches))).toEqual(new Set(items.filter(matches)))
        expect(new Set(queue.remove(matches))).toEqual(new Set(items.filter(matches)))
        const rest = items.filter((item) => !matches(item))
        expect(queue.size).toBe(rest.length)
        expect(byTenant(drain(queue))).toEqual(byTenant(rest))
      }),
    )
  })
})
