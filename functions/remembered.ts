// What an isolate has looked up, kept for a few seconds. A look-up that is in use is renewed before it grows old, so that
// what is busy (a key, a name, a pinned version) never waits for the database. Invariant: nothing is given out that is older than
// FRESH_MS, and nothing is remembered past `forget` that was read before.

/** So long an isolate may go by a key, its terms or an alias that have been changed in another one. */
export const FRESH_MS = 5_000
/** From this age on a use renews it in the background. */
const RENEW_AFTER_MS = 2_500

interface Entry<Value> {
  readonly value: Value
  readonly readMs: number
  renewing: boolean
}

export class Remembered<Value> {
  readonly #maxEntries: number
  readonly #entries = new Map<string, Entry<Value>>()
  #generation = 0

  constructor(maxEntries: number) {
    this.#maxEntries = maxEntries
  }

  /** The value for `key`: remembered, or from `load`. What `load` doesn't find is not remembered. */
  async get(
    key: string,
    nowMs: number,
    load: () => Promise<Value | undefined>,
    request: { waitUntil(promise: Promise<unknown>): void },
  ): Promise<Value | undefined> {
    const entry = this.#entries.get(key)
    const ageMs = entry ? nowMs - entry.readMs : Number.POSITIVE_INFINITY
    if (!entry || ageMs >= FRESH_MS) return await this.#read(key, nowMs, load)
    if (ageMs >= RENEW_AFTER_MS && !entry.renewing) {
      entry.renewing = true
      request.waitUntil(this.#read(key, nowMs, load).catch(() => undefined))
    }
    return entry.value
  }

  /** Forgets everything, what is being read at the moment included. */
  forget(): void {
    this.#generation++
    this.#entries.clear()
  }

  async #read(key: string, nowMs: number, load: () => Promise<Value | undefined>): Promise<Value | undefined> {
    const generation = this.#generation
    const value = await load()
    if (generation !== this.#generation) return value
    this.#entries.delete(key)
    if (value === undefined) return undefined
    if (this.#entries.size >= this.#maxEntries) this.#entries.clear()
    this.#entries.set(key, { value, readMs: nowMs, renewing: false })
    return value
  }
}
