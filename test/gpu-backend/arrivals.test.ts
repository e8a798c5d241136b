import { expect, test } from 'vitest'
import { Arrivals } from '../../gpu-backend/arrivals.ts'

/** An `Arrivals` with what is here, and what is being brought in the order in which it began. */
function recorded(maxWaitMs?: number) {
  const arrivals = new Arrivals(maxWaitMs)
  const here = new Set<string>()
  const bringing: PromiseWithResolvers<void>[] = []
  const bring = (digest: string) =>
    arrivals.once(
      digest,
      () => here.has(digest),
      async () => {
        const one = Promise.withResolvers<void>()
        bringing.push(one)
        await one.promise
        here.add(digest)
      },
    )
  return { bring, here, bringing }
}

test('a delta that many bring at once is brought once', async () => {
  const { bring, bringing } = recorded()
  const all = ['a', 'a', 'b', 'a'].map(bring)
  expect(bringing).toHaveLength(2)
  for (const one of bringing) one.resolve()
  expect(await Promise.all(all)).toEqual([true, false, true, false])
  expect(bringing).toHaveLength(2)
})

test('one that fails, or is gone again, is brought by the next, and what was brought before is brought again', async () => {
  const { bring, bringing, here } = recorded()
  const [first, ...others] = ['a', 'a', 'a'].map(bring)
  bringing[0]!.reject(new Error('broken off'))
  await expect(first).rejects.toThrow('broken off')
  await expect.poll(() => bringing.length).toBe(2)
  bringing[1]!.resolve()
  expect(await Promise.all(others)).toEqual([true, false])
  here.clear()
  const again = bring('a')
  expect(bringing).toHaveLength(3)
  bringing[2]!.resolve()
  expect(await again).toBe(true)
})

test('one that takes too long is waited for no longer', async () => {
  const { bring, bringing } = recorded(1)
  const first = bring('a')
  const second = bring('a')
  await expect.poll(() => bringing.length).toBe(2)
  for (const one of bringing) one.resolve()
  expect(await Promise.all([first, second])).toEqual([true, true])
})
