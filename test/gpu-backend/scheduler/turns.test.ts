import { expect, test } from 'vitest'
import { Turns } from '../../../gpu-backend/scheduler/turns.ts'
import fc from '../../support/properties.ts'

const arrivals = fc
  .array(fc.record({ tenant: fc.constantFrom('a', 'b', 'c'), fails: fc.boolean() }), { maxLength: 20 })
  .map((pieces) => pieces.map((piece, id) => ({ ...piece, id })))

test('pieces are done one at a time, tenants in turn, a failure being that of its own piece', async () => {
  await fc.assert(
    fc.asyncProperty(arrivals, async (pieces) => {
      const turns = new Turns()
      const done: (typeof pieces)[number][] = []
      let atWork = 0
      const results = await Promise.allSettled(
        pieces.map((piece) =>
          turns.run(piece.tenant, async () => {
            expect(++atWork).toBe(1)
            await Promise.resolve()
            atWork--
            done.push(piece)
            if (piece.fails) throw new Error(`piece ${piece.id}`)
            return piece.id
          }),
        ),
      )
      expect(results).toEqual(
        pieces.map(({ id, fails }) =>
          fails ? { status: 'rejected', reason: new Error(`piece ${id}`) } : { status: 'fulfilled', value: id },
        ),
      )
      for (const tenant of ['a', 'b', 'c']) {
        const own = done.filter((piece) => piece.tenant === tenant).map(({ id }) => id)
        expect(own).toEqual(own.toSorted((x, y) => x - y))
        // Between two of its turns nobody else has two.
        const places = done.flatMap((piece, place) => (piece.tenant === tenant ? [place] : []))
        for (const [i, place] of places.slice(1).entries()) {
          const between = done.slice(places[i]! + 1, place).map((piece) => piece.tenant)
          expect(new Set(between).size).toBe(between.length)
        }
      }
    }),
  )
})

test('work that throws before it has given a promise fails its own piece alone', async () => {
  const turns = new Turns()
  const failing = turns.run('a', () => {
    throw new Error('at once')
  })
  const next = turns.run('b', async () => 'next')
  await expect(failing).rejects.toThrow('at once')
  expect(await next).toBe('next')
})

test('what waits when all is cleared is refused, what is being done is finished, and more may come', async () => {
  const turns = new Turns()
  const { promise: gate, resolve: open } = Promise.withResolvers<void>()
  const first = turns.run('a', async () => {
    await gate
    return 'finished'
  })
  const waiting = ['a', 'b'].map((tenant) => turns.run(tenant, async () => 'never'))
  const refused = Promise.allSettled(waiting)
  turns.clear(new Error('closing'))
  const reason = new Error('closing')
  expect(await refused).toEqual([
    { status: 'rejected', reason },
    { status: 'rejected', reason },
  ])
  const next = turns.run('b', async () => 'next')
  open()
  expect(await first).toBe('finished')
  expect(await next).toBe('next')
  await new Promise(setImmediate)
  expect(await turns.run('a', async () => 'after a rest')).toBe('after a rest')
})
