// Requests that are here and not in the engine yet: looked up, rendered, tokenised. They have their places in the queue
// meanwhile. Knows no engine and no text. Invariant: a tenant's requests come out in the order in which they came in,
// however long each takes to prepare.

export class Preparation {
  /** By tenant: settles when its latest request has been prepared, and every one before. */
  readonly #latest = new Map<string, Promise<void>>()
  /** Of each request that is being prepared. */
  readonly #places = new Set<{ readonly tenant: string; readonly count: number }>()

  /** Places in the queue that requests being prepared will take, of all tenants or of one. */
  places(tenant?: string): number {
    const own = this.#places.values().filter((one) => tenant === undefined || one.tenant === tenant)
    return own.reduce((sum, { count }) => sum + count, 0)
  }

  /**
   * What `work` makes of a tenant's request that will take `places` in the queue. Whoever awaits it must put it into the
   * engine at once, before awaiting anything else. Rejects as `work` does.
   */
  run<T>(tenant: string, places: number, work: () => Promise<T>): Promise<T> {
    const before = this.#latest.get(tenant)
    const prepared = this.#after(before, { tenant, count: places }, work)
    // The next one goes on when this settles, which is after whoever awaits `prepared` has gone on. It has no value: each would
    // hold those of all before it, for as long as the tenant's requests overlap.
    const latest = Promise.allSettled([before, prepared]).then(() => {})
    this.#latest.set(tenant, latest)
    void latest.then(() => {
      if (this.#latest.get(tenant) === latest) this.#latest.delete(tenant)
    })
    return prepared
  }

  async #after<T>(
    before: Promise<void> | undefined,
    places: { readonly tenant: string; readonly count: number },
    work: () => Promise<T>,
  ): Promise<T> {
    this.#places.add(places)
    try {
      const made = await work()
      await before
      return made
    } finally {
      this.#places.delete(places)
    }
  }
}
