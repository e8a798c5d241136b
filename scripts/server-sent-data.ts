// The JSON values of a stream of server-sent events, up to OpenAI's closing `[DONE]`.
// Knows nothing of what they mean. Invariant: an event is complete when its blank line has arrived.

/** Each `data:` of `body`, parsed. Throws SyntaxError when one is not JSON. */
export async function* serverSentData(body: ReadableStream<Uint8Array>): AsyncGenerator<unknown> {
  let rest = ''
  for await (const text of body.pipeThrough(new TextDecoderStream())) {
    const events = (rest + text).split(/\r?\n\r?\n/)
    rest = events.pop() ?? ''
    for (const event of events) {
      const data = event.split(/\r?\n/).filter((line) => line.startsWith('data:'))
      const value = data.map((line) => line.slice('data:'.length).trim()).join('\n')
      if (value === '[DONE]') return
      if (value !== '') yield JSON.parse(value)
    }
  }
}
