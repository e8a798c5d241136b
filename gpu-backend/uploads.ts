// How many bytes of deltas may be on their way in at once: each is held whole in memory, once, until it is checked and on
// disk. (Beside them an engine holds what it makes of a single one, its packed copy: it takes them in one at a time.)
// Knows neither HTTP's routes nor the engine. Invariant: what was taken is given back, however the upload ends.
import type { IncomingMessage } from 'node:http'
import { BackendError } from './errors.ts'
import { SMALLEST_BLOCK_BYTES } from './residency/receive-delta.ts'

/** Room for so many deltas of the largest size; for many more of the usual one. */
const LARGEST_AT_ONCE = 2
/** However small a delta is, its connection and the first block of memory for it take about as much. */
const LEAST_BYTES = SMALLEST_BLOCK_BYTES

export class Uploads {
  readonly #capacityBytes: number
  #bytes = 0

  constructor(maxDeltaBytes: number) {
    this.#capacityBytes = LARGEST_AT_ONCE * Math.max(maxDeltaBytes, LEAST_BYTES)
  }

  /**
   * Runs `work`, which takes in up to `said` bytes, where there is room for it beside those that run.
   * @throws BackendError `overloaded` where there is not, before any work; and as `work` does
   */
  async run(said: number, work: () => Promise<void>): Promise<void> {
    const bytes = Math.max(said, LEAST_BYTES)
    if (this.#bytes + bytes > this.#capacityBytes) {
      throw new BackendError(
        'overloaded',
        `Deltas of ${this.#bytes} bytes are being sent here, and ${bytes} more are beyond the ${this.#capacityBytes} taken at once: send it again later.`,
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

/** Bytes that the body of `request` may take: what it says, or all that is allowed where it does not say. */
export function uploadBytes({ headers }: IncomingMessage, maxBytes: number): number {
  const said = Number(headers['content-length'] ?? Number.POSITIVE_INFINITY)
  return Math.min(said, maxBytes)
}
