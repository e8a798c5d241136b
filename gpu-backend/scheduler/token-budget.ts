// Who may hold how many tokens of the KV cache: more sequences than could all become as long as they may, without any that
// waits for another in a circle (the banker's algorithm, Dijkstra 1965, EWD 108).
// Pure. Invariant: each holder can get the most that it may need once those before it have ended, whatever those after it hold.

interface Holding {
  held: number
  readonly most: number
}

export class TokenBudget<Holder> {
  readonly #tokens: number
  /** In the order in which they entered. */
  readonly #holdings = new Map<Holder, Holding>()
  #held = 0

  constructor(tokens: number) {
    this.#tokens = tokens
  }

  /** What all holders have together. */
  get held(): number {
    return this.#held
  }

  /** In the order in which they entered. */
  holders(): MapIterator<Holder> {
    return this.#holdings.keys()
  }

  /** What `holder` has; 0 where it is none. */
  heldBy(holder: Holder): number {
    return this.#holdings.get(holder)?.held ?? 0
  }

  /**
   * Lets a new holder have `held` tokens of the `most` that it may ever need, where that leaves enough for those before it and
   * `spare` tokens beside. False where it does not.
   */
  enter(holder: Holder, held: number, most: number, spare: number): boolean {
    if (most > this.#tokens || held + spare > this.#room()) return false
    this.#holdings.set(holder, { held, most })
    this.#held += held
    return true
  }

  /**
   * Lets `holder` have `held` tokens of its most in place of the fewer that it has, where that leaves enough for those before it
   * and `spare` tokens beside. False where it does not. The first of all always gets them.
   */
  grow(holder: Holder, held: number, spare: number): boolean {
    const holding = this.#holdings.get(holder)!
    const more = held - holding.held
    if (more + spare > this.#room(holder)) return false
    holding.held = held
    this.#held += more
    return true
  }

  leave(holder: Holder): void {
    this.#held -= this.heldBy(holder)
    this.#holdings.delete(holder)
  }

  /** How many tokens `holder`, or a new one, can have more until one before it could not get its most. */
  #room(holder?: Holder): number {
    let room = Number.POSITIVE_INFINITY
    let after = this.#held
    for (const [other, { held, most }] of this.#holdings) {
      if (other === holder) break
      after -= held
      room = Math.min(room, this.#tokens - most - after)
    }
    return room
  }
}
