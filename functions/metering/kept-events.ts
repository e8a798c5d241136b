// What a request has been answered, to be kept for its Idempotency-Key where it may be stored.
// Invariant: what has grown too large to be stored is let go at once; an isolate's memory is shared by all its requests.
import type { GenerateEvent } from '../../gpu-backend/protocol.ts'
import type { KeptAnswer, TooLarge } from './reservation.ts'

/** Larger answers are not kept: a Durable Object's row holds 2 MB. */
const MAX_STORED_BYTES = 1_500_000

/** The events of one generation. */
export class KeptEvents {
  /** Undefined once they are too large. */
  #events: GenerateEvent[] | undefined = []
  /** Of their JSON, or fewer. */
  #chars = 0

  /** Text that follows text of the same choice is one event with it. */
  add(event: GenerateEvent): void {
    if (!this.#events) return
    const last = this.#events.at(-1)
    if (event.event === 'text' && last?.event === 'text' && last.index === event.index && !event.logprobs) {
      const joined = { ...last, text: last.text + event.text, tokens: last.tokens + event.tokens }
      this.#events[this.#events.length - 1] = joined
      this.#chars += event.text.length
    } else {
      this.#events.push(event)
      this.#chars += JSON.stringify(event).length
    }
    if (this.#chars > MAX_STORED_BYTES) this.#events = undefined
  }

  /** All of them, unless they are too large. */
  answer(): KeptAnswer | TooLarge {
    return this.#events ? storable(this.#events) : 'too_large'
  }
}

/** `answer`, unless it is too large. */
export function storable(answer: KeptAnswer): KeptAnswer | TooLarge {
  return new TextEncoder().encode(JSON.stringify(answer)).byteLength <= MAX_STORED_BYTES ? answer : 'too_large'
}
