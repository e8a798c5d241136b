// The body of a backend's answer (newline-delimited JSON) -> generation events, one at a time.
// Invariant: a stream that ends without `done` or `error`, or falls silent, is reported as broken, never as complete.
import { GenerateEvent } from '../../gpu-backend/protocol.ts'
import { tryWithin } from '../try-within.ts'

/** The backend went away, or spoke something that is no event. */
export class BrokenStream extends Error {}

const MAX_LINE_CHARS = 4_000_000

/**
 * Reads `body`, of which nothing may be missing for longer than `patienceMs`.
 * @throws BrokenStream
 */
export async function* readGenerateEvents(
  body: ReadableStream<Uint8Array>,
  patienceMs: number,
): AsyncGenerator<GenerateEvent> {
  for await (const line of readLines(body, patienceMs)) {
    if (!line) continue
    const event = parseEvent(line)
    yield event
    if (event.event === 'done' || event.event === 'error') return
  }
  throw new BrokenStream('the backend closed the stream before it was done')
}

function parseEvent(line: string): GenerateEvent {
  try {
    return GenerateEvent.parse(JSON.parse(line))
  } catch {
    throw new BrokenStream('the backend sent a line that is no event')
  }
}

async function* readLines(body: ReadableStream<Uint8Array>, patienceMs: number): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  const reader = body.getReader()
  let rest = ''
  try {
    for (;;) {
      const read = await tryWithin(reader.read(), patienceMs)
      if (!read) throw new BrokenStream('the backend has fallen silent')
      if (read.done) break
      const [more = '', ...lines] = decoder.decode(read.value, { stream: true }).split('\n')
      // Only appended to: nothing looks into a line before it is complete.
      rest += more
      if (rest.length > MAX_LINE_CHARS) throw new BrokenStream('the backend sent a line without end')
      for (const line of lines) {
        yield rest
        rest = line
      }
    }
  } catch (error) {
    throw error instanceof BrokenStream ? error : new BrokenStream('the connection to the backend was lost')
  } finally {
    // Ends the request on the backend where the reader stops early; nothing to wait for.
    reader.cancel().catch(() => undefined)
  }
  yield rest
}
