// Work that is done one piece at a time, tenants in turn: what one asks for holds another up by one piece at most.
// Knows nothing of the work. Invariant: every piece is done or refused, a tenant's own in the order in which they came.
import { FairQueue } from './fair-queue.ts'

interface Turn {
  readonly tenant: string
  /** Never rejects. */
  take(): Promise<void>
  refuse(reason: Error): void
}

export class Turns {
  readonly #waiting = new FairQueue<Turn>()
  #isTaken = false

  /** What `work` gives, when it is the turn of `tenant`. Rejects as `work` does, and as `clear` says. */
  run<Result>(tenant: string, work: () => Promise<Result>): Promise<Result> {
    const { promise, resolve, reject } = Promise.withResolvers<Result>()
    const take = async () => {
      try {
        resolve(await work())
      } catch (error) {
        reject(error)
      }
    }
    this.#waiting.push({ tenant, take, refuse: reject })
    if (!this.#isTaken) void this.#takeAll()
    return promise
  }

  /** What waits is refused for `reason`. */
  clear(reason: Error): void {
    for (const turn of this.#waiting.remove(() => true)) turn.refuse(reason)
  }

  async #takeAll(): Promise<void> {
    this.#isTaken = true
    for (let next = this.#next(); next; next = this.#next()) await next.take()
    this.#isTaken = false
  }

  #next(): Turn | undefined {
    return this.#waiting.take(() => true)
  }
}
