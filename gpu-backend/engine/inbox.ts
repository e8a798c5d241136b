// What comes back for the sequences of one request, in order of arrival, for one reader.
// Knows no engine. Invariant: a reader sees each sequence's messages up to its last one, or the first failure of any.
import type { BackendError } from '../errors.ts'
import type { SequenceMessage } from './answer-events.ts'

export class Inbox {
  /** Ids of sequences whose last message the reader has not had. */
  readonly open: Set<number>
  #messages: (readonly [number, SequenceMessage])[] = []
  #failure: BackendError | undefined
  #wake = () => {}

  constructor(ids: Iterable<number>) {
    this.open = new Set(ids)
  }

  push(id: number, message: SequenceMessage): void {
    this.#messages.push([id, message])
    this.#wake()
  }

  fail(error: BackendError): void {
    this.#failure ??= error
    this.#wake()
  }

  /**
   * Every message by its sequence's id, until all sequences have ended or the signal aborts.
   * @throws BackendError the first that `fail` was given
   */
  async *read(signal: AbortSignal): AsyncGenerator<readonly [number, SequenceMessage]> {
    const onAbort = () => this.#wake()
    signal.addEventListener('abort', onAbort)
    try {
      while (this.open.size > 0 && !signal.aborted) {
        if (this.#failure) throw this.#failure
        for (const item of this.#messages.splice(0)) {
          const [id, message] = item
          if (message.type === 'ended' || message.type === 'embedded') this.open.delete(id)
          yield item
        }
        if (this.open.size > 0 && this.#messages.length === 0 && !this.#failure && !signal.aborted) {
          await new Promise<void>((resolve) => {
            this.#wake = resolve
          })
        }
      }
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }
}
