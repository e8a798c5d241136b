import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { expect, test } from 'vitest'
import * as z from 'zod/mini'
import { MAX_BODY_BYTES } from '../../gpu-backend/exchange.ts'
import { LargeBodies } from '../../gpu-backend/large-bodies.ts'

const MIB = 2 ** 20
const done = async () => {}
const never = () => new Promise<void>(() => {})

/** One that says that it has so many bytes, or says nothing, of which none have come. */
function arriving(bytes?: number): IncomingMessage {
  const headers = bytes === undefined ? {} : { 'content-length': `${bytes}` }
  return Object.assign(new Readable({ read() {} }), { headers }) as IncomingMessage
}

/** Sends the whole body: a string that is `bytes` long in JSON. */
function finish(request: IncomingMessage, bytes: number): void {
  request.push(JSON.stringify('x'.repeat(bytes - 2)))
  request.push(null)
}

function whole(bytes: number): IncomingMessage {
  const request = arriving(bytes)
  finish(request, bytes)
  return request
}

const take = (bodies: LargeBodies, request: IncomingMessage, work: () => Promise<void> = done, tenant = 'acme') =>
  bodies.run(tenant, request, z.string(), work)

test('large requests are open within bounds, arriving ones included, small ones always, and room is given back however a request ends', async () => {
  const bodies = new LargeBodies()
  const first = arriving(4 * MIB)
  const running = take(bodies, first)
  for (let i = 0; i < 63; i++) void take(bodies, arriving(4 * MIB))
  await expect(take(bodies, whole(200_000))).rejects.toMatchObject({ code: 'overloaded' })
  await take(bodies, whole(100_000))
  first.destroy(new Error('broken off'))
  await expect(running).rejects.toThrow('broken off')
  await expect(take(bodies, whole(200_000), () => Promise.reject(new Error('failed')))).rejects.toThrow('failed')
  await take(bodies, whole(4 * MIB))
})

test('one that does not say how long it is counts as the longest until it has come', async () => {
  const bodies = new LargeBodies()
  /** Resolves when its work, which never ends, has begun. */
  const hold = (request: IncomingMessage) => {
    return new Promise<void>((resolve, reject) => {
      const work = () => {
        resolve()
        return never()
      }
      take(bodies, request, work).catch(reject)
    })
  }
  const requests = Array.from({ length: 32 }, () => arriving())
  const held = requests.map(hold)
  await expect(take(bodies, whole(200_000))).rejects.toMatchObject({ code: 'overloaded' })
  finish(requests[0]!, MIB)
  finish(requests[1]!, 100_000)
  await Promise.all(held.slice(0, 2))
  await hold(whole(8 * MIB))
  await hold(whole(7 * MIB))
  await expect(take(bodies, whole(200_000))).rejects.toMatchObject({ code: 'overloaded' })
})

test('one that is refused is read to its end before, unless it is longer than any may be', async () => {
  const bodies = new LargeBodies()
  for (let i = 0; i < 32; i++) void take(bodies, arriving(8 * MIB))
  const late = arriving(MIB)
  const refused = expect(take(bodies, late)).rejects.toMatchObject({ code: 'overloaded' })
  finish(late, MIB)
  await refused
  expect(late.readableEnded).toBe(true)
  await expect(take(bodies, whole(MAX_BODY_BYTES + 1))).rejects.toMatchObject({ code: 'too_large' })
})

test('beyond what is taken of all, and up to as much again, others than who fills it still have room for a few', async () => {
  const bodies = new LargeBodies()
  const fill = (bytes: number, tenant: string) => void take(bodies, arriving(bytes), done, tenant)
  for (let i = 0; i < 64; i++) fill(4 * MIB, 'acme')
  await expect(take(bodies, whole(200_000))).rejects.toMatchObject({ code: 'overloaded' })
  await take(bodies, whole(8 * MIB), done, 'other')
  fill(8 * MIB, 'other')
  await take(bodies, whole(8 * MIB), done, 'other')
  fill(8 * MIB, 'other')
  await expect(take(bodies, whole(200_000), done, 'other')).rejects.toMatchObject({ code: 'overloaded' })
  for (let i = 0; i < 30; i++) fill(8 * MIB, `t${i}`)
  await expect(take(bodies, whole(200_000), done, 'late')).rejects.toMatchObject({ code: 'overloaded' })
})
