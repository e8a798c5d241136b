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
/** Beyond the capacity, and up to as much again, who has no more than this is still let in: no tenant shuts others out. */
const OWN_BYTES = 2 * MAX_BODY_BYTES

export class LargeBodies {
  #bytes = 0
  /** Of those that have any. */
  readonly #byTenant = new Map<string, number>()

  /**
   * Runs `work` with the body of the tenant's `request`, which is read once there is room for it.
   * @throws BackendError `overloaded` where the body is large and there is none; and as `readJsonBody` and `work` do
   */
  async run<T>(
    tenant: string,
    request: IncomingMessage,
    schema: z.ZodMiniType<T>,
    work: (body: T) => Promise<void>,
  ): Promise<void> {
    // One that does not say how long it is may become as long as any.
    let taken = countedBytes(Number(request.headers['content-length'] ?? MAX_BODY_BYTES))
    if (!this.#hasRoom(tenant, taken)) {
      const refusal = new BackendError(
        'overloaded',
        `Large requests of ${this.#bytes} bytes are open here, ${this.#of(tenant)} of them your own, which leaves no room for ${taken} more: send a smaller one, or try again later.`,
      )
      await skipBody(request)
      throw refusal
    }
    this.#count(tenant, taken)
    try {
      const { body, bytes } = await readJsonBody(request, schema)
      this.#count(tenant, countedBytes(bytes) - taken)
      taken = countedBytes(bytes)
      await work(body)
    } finally {
      this.#count(tenant, -taken)
    }
  }

  #hasRoom(tenant: string, bytes: number): boolean {
    if (bytes === 0 || this.#bytes + bytes <= CAPACITY_BYTES) return true
    return this.#of(tenant) + bytes <= OWN_BYTES && this.#bytes + bytes <= 2 * CAPACITY_BYTES
  }

  #of(tenant: string): number {
    return this.#byTenant.get(tenant) ?? 0
  }

  #count(tenant: string, bytes: number): void {
    const own = this.#of(tenant) + bytes
    this.#bytes += bytes
    if (own > 0) this.#byTenant.set(tenant, own)
    else this.#byTenant.delete(tenant)
  }
}

function countedBytes(bytes: number): number {
  return bytes <= SMALL_BYTES ? 0 : Math.min(bytes, MAX_BODY_BYTES)
}
