// Which deltas are being brought: each once, however many bring it at the same time, since a crowd that asks for one adapter
// that is not here brings it as often as it asks.
// Knows neither bytes nor the engine. Invariant: whoever waits for another's delta is told that it is here, or brings it itself.

/**
 * So long one waits for another that brings the same: most have come by then, and one whose sender is gone without a word must
 * not keep its delta away for as long as a request may take.
 */
const MAX_WAIT_MS = 30_000

export class Arrivals {
  readonly #maxWaitMs: number
  /** By digest; each resolves when it has come or failed, and never rejects. */
  readonly #open = new Map<string, Promise<void>>()

  constructor(maxWaitMs = MAX_WAIT_MS) {
    this.#maxWaitMs = maxWaitMs
  }

  /**
   * Brings `digest` by `bring`; where another does that already, only if it `isHere` not once that has ended, or takes too long.
   * Returns whether `bring` has run. @throws as `bring` does
   */
  async once(digest: string, isHere: () => boolean, bring: () => Promise<void>): Promise<boolean> {
    const untilMs = performance.now() + this.#maxWaitMs
    for (let other = this.#open.get(digest); other !== undefined; other = this.#open.get(digest)) {
      const leftMs = untilMs - performance.now()
      if (leftMs <= 0 || !(await hasEnded(other, leftMs))) break
      if (isHere()) return false
    }
    const bringing = bring()
    const ended = bringing.catch(() => {})
    this.#open.set(digest, ended)
    try {
      await bringing
    } finally {
      // One that took too long was followed by another.
      if (this.#open.get(digest) === ended) this.#open.delete(digest)
    }
    return true
  }
}

/** False where it has not within `ms`. */
async function hasEnded(other: Promise<void>, ms: number): Promise<boolean> {
  const late = Promise.withResolvers<boolean>()
  const timer = setTimeout(() => late.resolve(false), ms)
  try {
    return await Promise.race([other.then(() => true), late.promise])
  } finally {
    clearTimeout(timer)
  }
}
