// The body of a backend's answer (newline-delimited JSON) -> generation events, one at a time.
// Invariant: a stream that ends without `done` or `error`, or falls silent, is reported as broken, never as complete.
import { GenerateEvent } from '../../gpu-backend/protocol.ts'
import { tryWithin } from '../try-within.ts'

/** The backend went away, or spoke something that is no event. */
export class BrokenStream extends Error {
  /** Nobody had read for so long that the backend may have ended the connection for that. */
  readonly byReader: boolean

  constructor(message: string, byReader = false) {
    super(message)
    this.byReader = byReader
  }
}

const MAX_LINE_CHARS = 4_000_000
/** Less than the two minutes that a backend waits for somebody to read on. */
const MAX_PAUSE_MS = 100_000

/**
 * Reads `body`, of which nothing may be missing for longer than `patienceMs`, by a reader who does not pause for as long either.
 * @throws BrokenStream
 */
export async function* readGenerateEvents(
  body: ReadableStream<Uint8Array>,
  patienceMs: number,
): AsyncGenerator<GenerateEvent> {
  // What had come before the backend gave up is still there to be read: any pause counts, not the last alone.
  const pause = { longestMs: 0 }
  const lost = (message: string) => new BrokenStream(message, pause.longestMs >= Math.min(patienceMs, MAX_PAUSE_MS))
  for await (const line of readLines(body, { patienceMs, pause, lost })) {
    if (!line) continue
    const event = parseEvent(line)
    yield event
    if (event.event === 'done' || event.event === 'error') return
  }
  throw lost('the backend closed the stream before it was done')
}

interface Reading {
  readonly patienceMs: number
  /** The longest time that nobody has asked for more; updated. */
  readonly pause: { longestMs: number }
  readonly lost: (message: string) => BrokenStream
}

function parseEvent(line: string): GenerateEvent {
  try {
    return GenerateEvent.parse(JSON.parse(line))
  } catch {
    throw new BrokenStream('the backend sent a line that is no event')
  }
}

async function* readLines(
  body: ReadableStream<Uint8Array>,
  { patienceMs, pause, lost }: Reading,
): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  const reader = body.getReader()
  let rest = ''
  let readMs = Date.now()
  try {
    for (;;) {
      pause.longestMs = Math.max(pause.longestMs, Date.now() - readMs)
      const read = await tryWithin(reader.read(), patienceMs)
      if (!read) throw new BrokenStream('the backend has fallen silent')
      if (read.done) break
      readMs = Date.now()
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
    throw error instanceof BrokenStream ? error : lost('the connection to the backend was lost')
  } finally {
    // Ends the request on the backend where the reader stops early; nothing to wait for.
    reader.cancel().catch(() => undefined)
  }
  yield rest
}
