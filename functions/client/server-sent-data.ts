// The JSON values of a stream of server-sent events, up to OpenAI's closing `[DONE]`.
// Knows nothing of what they mean. Invariant: an event is complete when its blank line has arrived.

/** Each `data:` of `body`, parsed. Throws SyntaxError when one is not JSON. */
export async function* serverSentData(body: ReadableStream<Uint8Array>): AsyncGenerator<unknown> {
  const reader = body.getReader()
  const decoder = new TextDecoder()
  let rest = ''
  try {
    // By hand: not every browser can iterate over a stream.
    for (;;) {
      const piece = await reader.read()
      if (piece.done) return
      const events = (rest + decoder.decode(piece.value, { stream: true })).split(/\r?\n\r?\n/)
      rest = events.pop() ?? ''
      for (const event of events) {
        const data = event.split(/\r?\n/).filter((line) => line.startsWith('data:'))
        const value = data.map((line) => line.slice('data:'.length).trim()).join('\n')
        if (value === '[DONE]') return
        if (value !== '') yield JSON.parse(value)
      }
    }
  } finally {
    await reader.cancel()
  }
}
