import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Preparation } from '../../../gpu-backend/engine/preparation.ts'
import { collectGarbage } from '../../support/collect-garbage.ts'

test('a tenant’s requests come out in the order in which they came in, however long each takes, and wait for no other tenant', async () => {
  const preparation = new Preparation()
  const [slow, failing, quick] = [1, 2, 3].map(() => Promise.withResolvers<string>())
  const order: string[] = []
  const run = async (tenant: string, work: Promise<string>) => {
    order.push(await preparation.run(tenant, 1, () => work).catch((error: Error) => error.message))
  }
  const all = [slow!, failing!, quick!].map(({ promise }) => run('acme', promise))
  quick!.resolve('quick')
  failing!.reject(new Error('failed'))
  await run('bravo', Promise.resolve('other'))
  expect(preparation.places('acme')).toBe(2)
  slow!.resolve('slow')
  await Promise.all(all)
  expect(order).toEqual(['failed', 'other', 'slow', 'quick'])
  expect(preparation.places()).toBe(0)
})

test('nothing of a request is held once it is prepared, as long as the tenant’s requests may overlap', async () => {
  const preparation = new Preparation()
  const made: WeakRef<object>[] = []
  const begin = () => {
    const gate = Promise.withResolvers<void>()
    const prepared = preparation.run('acme', 1, async () => {
      await gate.promise
      const request = { promptTokens: new Int32Array(100) }
      made.push(new WeakRef(request))
      return request
    })
    return async () => {
      gate.resolve()
      await prepared
    }
  }
  let end = begin()
  for (let i = 0; i < 3; i++) {
    // Before the one before it has ended.
    const endNext = begin()
    await end()
    end = endNext
  }
  // What has been looked at in a turn of the event loop is kept until its end.
  await setImmediate()
  collectGarbage()
  expect(made.map((request) => request.deref())).toEqual([undefined, undefined, undefined])
  await end()
})
