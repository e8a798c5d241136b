import type { IncomingMessage } from 'node:http'
import { describe, expect, test } from 'vitest'
import { SMALLEST_BLOCK_BYTES } from '../../gpu-backend/residency/receive-delta.ts'
import { Uploads, uploadBytes } from '../../gpu-backend/uploads.ts'

const never = () => new Promise<void>(() => {})

describe('deltas on their way in', () => {
  test('are two of the largest at once, and a third is refused until one has ended, however it did', async () => {
    const uploads = new Uploads(1e6)
    const first = Promise.withResolvers<void>()
    const running = uploads.run(1e6, () => first.promise)
    void uploads.run(1e6, never)
    await expect(uploads.run(1, async () => {})).rejects.toMatchObject({ code: 'overloaded' })
    first.reject(new Error('broken off'))
    await expect(running).rejects.toThrow('broken off')
    await uploads.run(1e6, async () => {})
  })

  test('count as what they take at least, however small they say they are', async () => {
    const uploads = new Uploads(SMALLEST_BLOCK_BYTES)
    for (let i = 0; i < 2; i++) void uploads.run(1, never)
    await expect(uploads.run(1, async () => {})).rejects.toMatchObject({ code: 'overloaded' })
  })

  test('are taken where all that may come is less than one takes at least', async () => {
    const uploads = new Uploads(10)
    await uploads.run(10, async () => {})
  })

  test('that do not say how long they are count as the largest', () => {
    const bytes = (headers: object) => uploadBytes({ headers } as IncomingMessage, 100)
    expect([bytes({}), bytes({ 'content-length': '7' }), bytes({ 'content-length': '700' })]).toEqual([100, 7, 100])
  })
})
