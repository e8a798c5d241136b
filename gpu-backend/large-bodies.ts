// How many bytes of large requests may be open at once: each is held in memory until its answer has ended, waiting included,
// and a queue of the largest would be more than a process can have. Small ones are not counted: they always get in.
// Knows neither routes nor the engine. Invariant: what was taken is given back, however the request ends.
import type { IncomingMessage } from 'node:http'
import { BackendError } from './errors.ts'
import { MAX_BODY_BYTES } from './exchange.ts'

/** As many of these as may wait by default, 1024, take half of what the large ones may. */
const SMALL_BYTES = 128 * 1024
const CAPACITY_BYTES = 256 * 2 ** 20

export class LargeBodies {
  #bytes = 0

  /**
   * Runs `work` for `request`, whose body has been read: one that is cut off in the middle looks to its sender like a backend
   * that is gone.
   * @throws BackendError `overloaded` where the body is large and there is no room for it, before any work; and as `work` does
   */
  async run(request: IncomingMessage, work: () => Promise<void>): Promise<void> {
    const said = Number(request.headers['content-length'] ?? MAX_BODY_BYTES)
    const bytes = said <= SMALL_BYTES ? 0 : Math.min(said, MAX_BODY_BYTES)
    if (bytes > 0 && this.#bytes + bytes > CAPACITY_BYTES) {
      throw new BackendError(
        'overloaded',
        `Large requests of ${this.#bytes} bytes are open here, and ${bytes} more are beyond the ${CAPACITY_BYTES} taken at once: send a smaller one, or try again later.`,
      )
    }
    this.#bytes += bytes
    try {
      await work()
    } finally {
      this.#bytes -= bytes
    }
  }
}
