import { expect, test } from 'vitest'
import { BrokenStream, readGenerateEvents } from '../../functions/router/generate-events.ts'
import type { GenerateEvent } from '../../gpu-backend/protocol.ts'
import fc from '../support/properties.ts'

const PATIENCE_MS = 60_000
const text = (value: string): GenerateEvent => ({ event: 'text', index: 0, text: value, tokens: 1 })
const END: GenerateEvent = { event: 'error', error: 'internal', message: 'over' }

/** A stream of `pieces`; reading it costs as many pulls as it has pieces. */
function streamOf(pieces: Iterable<Uint8Array>): ReadableStream<Uint8Array> {
  return ReadableStream.from(pieces) as ReadableStream<Uint8Array>
}

function* cut(bytes: Uint8Array, sizes: readonly number[]): Generator<Uint8Array> {
  for (let start = 0, i = 0; start < bytes.length; i++) {
    const size = sizes[i % sizes.length]!
    yield bytes.subarray(start, start + size)
    start += size
  }
}

test('events are the same whatever the pieces they arrive in', async () => {
  const events = fc.array(fc.string({ unit: 'binary', maxLength: 20 }).map(text))
  const sizes = fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1 })
  await fc.assert(
    fc.asyncProperty(events, sizes, async (said, pieces) => {
      const lines = [...said, END].map((event) => `${JSON.stringify(event)}\n`).join('')
      const body = streamOf(cut(new TextEncoder().encode(lines), pieces))
      expect(await Array.fromAsync(readGenerateEvents(body, PATIENCE_MS))).toEqual([...said, END])
    }),
  )
})

test('one long event may arrive in very many pieces', async () => {
  const long = text('x'.repeat(1_000_000))
  const lines = [long, END].map((event) => `${JSON.stringify(event)}\n`).join('')
  const body = streamOf(cut(new TextEncoder().encode(lines), [10]))
  expect(await Array.fromAsync(readGenerateEvents(body, PATIENCE_MS))).toEqual([long, END])
})

test('a line without end is given up before it is gathered', async () => {
  const piece = new Uint8Array(100_000).fill(0x78)
  let sent = 0
  const endless = (function* () {
    for (;;) {
      sent++
      yield piece
    }
  })()
  await expect(Array.fromAsync(readGenerateEvents(streamOf(endless), PATIENCE_MS))).rejects.toThrow(BrokenStream)
  expect(sent).toBeLessThan(60)
})
