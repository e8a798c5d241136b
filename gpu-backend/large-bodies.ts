// How many bytes of large requests may be open at once: each is held in memory from its first byte until its answer has ended,
// waiting included, and a queue of the largest would be more than a process can have. Small ones are not counted: they always
// get in.
// Knows neither routes nor the engine. Invariant: what was taken is given back, however the request ends.
import type { IncomingMessage } from 'node:http'
import type * as z from 'zod/mini'
import { BackendError } from './errors.ts'
import { MAX_BODY_BYTES, readJsonBody, skipBody } from './exchange.ts'

/** As many of these as may wait by default, 1024, take half of what the large ones may. */
const SMALL_BYTES = 128 * 1024
const CAPACITY_BYTES = 256 * 2 ** 20

export class LargeBodies {
  #bytes = 0

  /**
   * Runs `work` with the body of `request`, which is read once there is room for it.
   * @throws BackendError `overloaded` where the body is large and there is none; and as `readJsonBody` and `work` do
   */
  async run<T>(request: IncomingMessage, schema: z.ZodMiniType<T>, work: (body: T) => Promise<void>): Promise<void> {
    // One that does not say how long it is may become as long as any.
    let taken = countedBytes(Number(request.headers['content-length'] ?? MAX_BODY_BYTES))
    if (taken > 0 && this.#bytes + taken > CAPACITY_BYTES) {
      const refusal = new BackendError(
        'overloaded',
        `Large requests of ${this.#bytes} bytes are open here, and ${taken} more are beyond the ${CAPACITY_BYTES} taken at once: send a smaller one, or try again later.`,
      )
      await skipBody(request)
      throw refusal
    }
    this.#bytes += taken
    try {
      const { body, bytes } = await readJsonBody(request, schema)
      this.#bytes += countedBytes(bytes) - taken
      taken = countedBytes(bytes)
      await work(body)
    } finally {
      this.#bytes -= taken
    }
  }
}

function countedBytes(bytes: number): number {
  return bytes <= SMALL_BYTES ? 0 : Math.min(bytes, MAX_BODY_BYTES)
}
