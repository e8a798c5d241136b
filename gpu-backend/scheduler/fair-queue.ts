// The waiting sequences: first come first served within a tenant, tenants in turn.
// Pure: no clock, no I/O. Invariant: a tenant's sequences leave in the order in which they came.

interface Item {
  readonly tenant: string
}

export class FairQueue<T extends Item> {
  /** By tenant, in the order of turns: the tenant served longest ago comes first. */
  readonly #tenants = new Map<string, T[]>()
  #size = 0

  get size(): number {
    return this.#size
  }

  push(item: T): void {
    const queue = this.#tenants.get(item.tenant)
    if (queue) queue.push(item)
    else this.#tenants.set(item.tenant, [item])
    this.#size++
  }

  /** The next item of the first tenant whose turn it is and whose next item `isReady`; undefined where none is. */
  take(isReady: (item: T) => boolean): T | undefined {
    for (const [tenant, queue] of this.#tenants) {
      const item = queue[0]!
      if (!isReady(item)) continue
      queue.shift()
      this.#size--
      this.#tenants.delete(tenant)
      if (queue.length > 0) this.#tenants.set(tenant, queue)
      return item
    }
    return undefined
  }

  /** The items that come next, one of each tenant, in the order of turns. */
  heads(): T[] {
    return Array.from(this.#tenants.values(), (queue) => queue[0]!)
  }

  /** Every item for which `matches` holds. */
  find(matches: (item: T) => boolean): T[] {
    return [...this.#tenants.values()].flat().filter(matches)
  }

  /** Takes out every item for which `matches` holds. */
  remove(matches: (item: T) => boolean): T[] {
    const removed: T[] = []
    for (const [tenant, queue] of [...this.#tenants]) {
      const kept = queue.filter((item) => !matches(item))
      if (kept.length === queue.length) continue
      removed.push(...queue.filter(matches))
      this.#size -= queue.length - kept.length
      // Keeps the tenant's place in the turns.
      if (kept.length > 0) this.#tenants.set(tenant, kept)
      else this.#tenants.delete(tenant)
    }
    return removed
  }
}
