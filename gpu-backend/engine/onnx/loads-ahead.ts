// Reads deltas from disk for the sequences whose turn comes next, beside whatever is being computed.
// Knows who is next and what is in memory; neither rows nor the graph. Invariant: what was read for one turn is not pushed out
// for another before it was used.
import type { AdapterCache } from '../../residency/adapter-cache.ts'
import type { Sequence } from '../../scheduler/sequence.ts'

/** Deltas that are read at the same time. */
const LOADS_AHEAD = 4

export class LoadsAhead {
  readonly #cache: AdapterCache
  readonly #onLoaded: () => void
  readonly #onFailed: (digest: string, reason: unknown) => void

  constructor(cache: AdapterCache, onLoaded: () => void, onFailed: (digest: string, reason: unknown) => void) {
    this.#cache = cache
    this.#onLoaded = onLoaded
    this.#onFailed = onFailed
  }

  /** Starts reading what the first of `upcoming`, in the order of their turns, lack. */
  start(upcoming: readonly Sequence[]): void {
    const next = upcoming.slice(0, LOADS_AHEAD)
    // What the first turn needs is the last to be pushed out.
    for (const { digest } of next.toReversed()) if (digest !== null) this.#cache.touch(digest)
    // However full the memory is: it would be read again and again while others' answers end.
    this.#cache.keepForNext(next.find(({ digest }) => digest !== null)?.digest ?? undefined)
    const near = new Set<string>()
    for (const sequence of next) {
      const { digest } = sequence
      if (digest === null) continue
      const isHere = this.#cache.has(digest)
      if (!isHere) sequence.tier = 'disk'
      if (!isHere && !this.#cache.isLoading(digest)) {
        // What has come for an earlier turn must not be pushed out by this one: both would be read again and again. What
        // has come for a later one may be, or a tenant would wait for as long as others keep the memory full.
        if (near.size > 0 && !this.#cache.hasRoomBeside(near)) continue
        this.#load(sequence, digest)
      }
      near.add(digest)
    }
  }

  #load(sequence: Sequence, digest: string): void {
    const beganMs = performance.now()
    this.#cache.load(digest).then(
      () => {
        sequence.loadMs = performance.now() - beganMs
        this.#onLoaded()
      },
      (error: unknown) => this.#onFailed(digest, error),
    )
  }
}
