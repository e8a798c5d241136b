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

test('silence for longer than patience is a broken stream, unless empty lines say that it goes on', async () => {
  const line = (event: GenerateEvent) => new TextEncoder().encode(`${JSON.stringify(event)}\n`)
  const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
  const [patienceMs, pauseMs] = [200, 400]
  const answer = (emptyLines: number) =>
    ReadableStream.from(
      (async function* () {
        yield line(text('a'))
        for (let i = 0; i < emptyLines; i++) {
          await pause(pauseMs / (emptyLines + 1))
          yield Uint8Array.of(0x0a)
        }
        await pause(pauseMs / (emptyLines + 1))
        yield line(END)
      })(),
    ) as ReadableStream<Uint8Array>
  await expect(Array.fromAsync(readGenerateEvents(answer(0), patienceMs))).rejects.toThrow('fallen silent')
  expect(await Array.fromAsync(readGenerateEvents(answer(9), patienceMs))).toEqual([text('a'), END])
})

test.each([
  { what: 'after nobody has read on for as long as a backend may be silent', pauseMs: 400, byReader: true },
  { what: 'while it is being read', pauseMs: 0, byReader: false },
])('a connection that ends $what is so by its reader: $byReader', async ({ pauseMs, byReader }) => {
  const lines = ['a', 'b', 'c'].map((said) => new TextEncoder().encode(`${JSON.stringify(text(said))}\n`))
  for (const fail of [true, false]) {
    const pieces = (async function* () {
      yield* lines
      if (fail) throw new Error('reset')
    })()
    const events = readGenerateEvents(ReadableStream.from(pieces) as ReadableStream<Uint8Array>, 200)
    await events.next()
    await new Promise((resolve) => setTimeout(resolve, pauseMs))
    // What had come before is there still.
    await events.next()
    await events.next()
    await expect(events.next()).rejects.toMatchObject({ byReader })
  }
})
