// Text that is made while it is read, as a body: an answer of many megabytes is never whole in memory, of which an isolate has
// 128 MB for all its requests. Where the making fails, the answer breaks off.

export function textBody(pieces: AsyncGenerator<string>): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder()
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await pieces.next()
      if (done) controller.close()
      else controller.enqueue(encoder.encode(value))
    },
  })
}

/** `head` with the items of all `pages` as its last field, `data`, in JSON: a piece a page. */
export async function* listText(
  head: object,
  pages: Iterable<readonly object[]> | AsyncIterable<readonly object[]>,
): AsyncGenerator<string> {
  yield `${JSON.stringify(head).slice(0, -1)},"data":[`
  let isFirst = true
  for await (const items of pages) {
    if (items.length === 0) continue
    yield (isFirst ? '' : ',') + items.map((item) => JSON.stringify(item)).join(',')
    isFirst = false
  }
  yield ']}'
}
