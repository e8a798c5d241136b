import { expect, test } from 'vitest'
import { serverSentData } from '../../../functions/client/server-sent-data.ts'

async function read(pieces: readonly Uint8Array[]): Promise<unknown[]> {
  return Array.fromAsync(serverSentData(ReadableStream.from(pieces)))
}

test('events are read whatever the pieces they arrive in', async () => {
  const text =
    'data: {"a":"é"}\n\n: a comment\n\ndata: [1,\ndata: 2]\r\n\r\ndata: {"b":1}\n\ndata: [DONE]\n\ndata: {"late":1}\n\n'
  const bytes = new TextEncoder().encode(text)
  const expected = [{ a: 'é' }, [1, 2], { b: 1 }]
  for (let size = 1; size <= bytes.length; size++) {
    const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
      bytes.subarray(i * size, (i + 1) * size),
    )
    expect(await read(pieces)).toEqual(expected)
  }
})

test('a stream that ends without [DONE] gives what was complete', async () => {
  expect(await read([new TextEncoder().encode('data: 1\n\ndata: 2')])).toEqual([1])
})
