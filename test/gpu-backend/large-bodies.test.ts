import type { IncomingMessage } from 'node:http'
import { expect, test } from 'vitest'
import { LargeBodies } from '../../gpu-backend/large-bodies.ts'

const of = (bytes?: number) =>
  ({ headers: bytes === undefined ? {} : { 'content-length': `${bytes}` } }) as IncomingMessage
const never = () => new Promise<void>(() => {})

test('large requests are open within bounds, small ones always, and room is given back however a request ends', async () => {
  const bodies = new LargeBodies()
  const first = Promise.withResolvers<void>()
  const running = bodies.run(of(4 * 2 ** 20), () => first.promise)
  for (let i = 0; i < 63; i++) void bodies.run(of(4 * 2 ** 20), never)
  await expect(bodies.run(of(200_000), async () => {})).rejects.toMatchObject({ code: 'overloaded' })
  // One that does not say how long it is may become as long as any.
  await expect(bodies.run(of(), async () => {})).rejects.toMatchObject({ code: 'overloaded' })
  await bodies.run(of(100_000), async () => {})
  first.reject(new Error('broken off'))
  await expect(running).rejects.toThrow('broken off')
  await bodies.run(of(200_000), async () => {})
})
