// Finds stop strings in text that arrives in pieces, holding back what could still become one.
// Invariant: no part of a stop string is ever let through, and everything before it is.

export class StopMatcher {
  readonly #stops: readonly string[]
  #held = ''

  constructor(stops: readonly string[]) {
    this.#stops = stops
  }

  /** The text that may be shown now, and whether a stop string has been reached (nothing follows then). */
  push(text: string): { text: string; stopped: boolean } {
    const all = this.#held + text
    const found = Math.min(...this.#stops.map((stop) => position(all, stop)))
    if (found !== Number.POSITIVE_INFINITY) {
      this.#held = ''
      return { text: all.slice(0, found), stopped: true }
    }
    const safe = all.length - Math.max(0, ...this.#stops.map((stop) => overlap(all, stop)))
    this.#held = all.slice(safe)
    return { text: all.slice(0, safe), stopped: false }
  }

  /** What was held back and turned out to be no stop string, once the text has ended. */
  flush(): string {
    const held = this.#held
    this.#held = ''
    return held
  }
}

function position(text: string, stop: string): number {
  const index = text.indexOf(stop)
  return index < 0 ? Number.POSITIVE_INFINITY : index
}

/** Length of the longest end of `text` that `stop` begins with. */
export function overlap(text: string, stop: string): number {
  for (let length = Math.min(stop.length - 1, text.length); length > 0; length--) {
    if (text.endsWith(stop.slice(0, length))) return length
  }
  return 0
}
