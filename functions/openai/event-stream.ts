// Generation events -> the body of a `text/event-stream`, at the pace of its reader.
// Knows nothing of backends or accounts. Invariant: `[DONE]` is sent only after the whole answer; a broken one ends with an error.
import type { GenerateEvent } from '../../gpu-backend/protocol.ts'
import { type ApiError, errorBody } from '../errors.ts'
import { tryWithin } from '../try-within.ts'
import type { ChunkedAnswer } from './answer.ts'

/** A stream is never silent for longer: only a write finds out that the client has left. */
const SILENCE_MS = 1_000
/** A comment, which clients skip. */
const STILL_HERE = ': still here\n\n'

interface EventStreamOptions {
  readonly answer: ChunkedAnswer
  readonly events: AsyncGenerator<GenerateEvent>
  /** What to tell the client where the events break off or end with `error`. */
  readonly failure: (error: unknown) => ApiError
  /** The client has left: nobody reads on. */
  readonly onLeave: () => void
}

export function eventStream({ answer, events, failure, onLeave }: EventStreamOptions): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder()
  const data = (value: object) => encoder.encode(`data: ${JSON.stringify(value)}\n\n`)
  let pending: Promise<IteratorResult<GenerateEvent>> | undefined
  let hasLeft = false
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      // One for all events that say nothing to the client, such as those of a call that is being written.
      const silentUntilMs = Date.now() + SILENCE_MS
      try {
        for (;;) {
          pending ??= events.next()
          const leftMs = silentUntilMs - Date.now()
          const next = leftMs > 0 ? await tryWithin(pending, leftMs) : undefined
          if (!next) return controller.enqueue(encoder.encode(STILL_HERE))
          pending = undefined
          if (next.done) break
          if (next.value.event === 'error') throw next.value
          const chunks = answer.chunks(next.value)
          for (const chunk of chunks) controller.enqueue(data(chunk))
          if (chunks.length > 0) return
        }
        controller.enqueue(encoder.encode('data: [DONE]\n\n'))
      } catch (error) {
        // Nothing has failed where a reader that is gone takes no more, or ends the events by going.
        if (hasLeft) return
        // The status is sent already: an error in place of the end tells the client that this is not all.
        controller.enqueue(data(errorBody(failure(error))))
        await events.return(undefined)
      }
      controller.close()
    },
    cancel: () => {
      hasLeft = true
      onLeave()
    },
  })
}
