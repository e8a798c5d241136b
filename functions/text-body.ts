// Text that is made while it is read, as a body: an answer of many megabytes is never whole in memory, of which an isolate has
// 128 MB for all its requests. Where the making fails, the answer breaks off.

export function textBody(pieces: Generator<string> | AsyncGenerator<string>): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder()
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await pieces.next()
      if (done) controller.close()
      else controller.enqueue(encoder.encode(value))
    },
  })
}
