// The host tier: deltas in memory, least recently used out first, counted in bytes.
// Knows neither files nor the engine: how a delta is read, and what must happen when it goes, are given to it.
// Invariants: a pinned delta is never evicted; a digest is loaded once however many ask for it.
import type { PackedDelta } from './packed-delta.ts'

interface Entry {
  readonly delta: PackedDelta
  pins: number
}

export interface AdapterCacheStats {
  readonly entries: number
  readonly bytes: number
  readonly hits: number
  readonly loads: number
  readonly evictions: number
}

export class AdapterCache {
  readonly #capacityBytes: number
  readonly #read: (digest: string) => Promise<PackedDelta>
  readonly #onEvict: (delta: PackedDelta) => void
  /** In order of use: the least recently used first. */
  readonly #entries = new Map<string, Entry>()
  readonly #loading = new Map<string, Promise<void>>()
  /** What the next turn needs. */
  #next: string | undefined
  #bytes = 0
  #hits = 0
  #loads = 0
  #evictions = 0

  constructor(
    capacityBytes: number,
    read: (digest: string) => Promise<PackedDelta>,
    onEvict: (delta: PackedDelta) => void,
  ) {
    this.#capacityBytes = capacityBytes
    this.#read = read
    this.#onEvict = onEvict
  }

  /** Whether the delta is in memory. */
  has(digest: string): boolean {
    return this.#entries.has(digest)
  }

  isLoading(digest: string): boolean {
    return this.#loading.has(digest)
  }

  /** Marks a delta as used where it is in memory: it will be soon. */
  touch(digest: string): void {
    const entry = this.#entries.get(digest)
    if (entry) this.#touch(digest, entry)
  }

  /** Names what the next turn needs, until it names another: nothing pushes it out, since whoever needs it has yet to pin it. */
  keepForNext(digest: string | undefined): void {
    if (digest === this.#next) return
    this.#next = digest
    this.#shrink()
  }

  /** Whether one more delta, of the usual size, fits beside those that are pinned, being read, or `wanted`. */
  hasRoomBeside(wanted: ReadonlySet<string>): boolean {
    let [bytes, count] = [0, 0]
    for (const [digest, { delta, pins }] of this.#entries) {
      if (pins === 0 && !wanted.has(digest)) continue
      bytes += delta.bytes
      count++
    }
    const usual = count > 0 ? bytes / count : 0
    return bytes + (this.#loading.size + 1) * usual <= this.#capacityBytes
  }

  /** The delta, pinned until `unpin`; undefined where it is not in memory. */
  tryPin(digest: string): PackedDelta | undefined {
    const entry = this.#entries.get(digest)
    if (!entry) return undefined
    entry.pins++
    this.#hits++
    this.#touch(digest, entry)
    return entry.delta
  }

  /** Undoes one `tryPin`; what is over the capacity goes once nothing pins it. */
  unpin(digest: string): void {
    const entry = this.#entries.get(digest)
    if (!entry || entry.pins === 0) throw new Error(`${digest} is not pinned`)
    entry.pins--
    this.#shrink()
  }

  /** Brings the delta into memory. Rejects as the given `read` does. */
  load(digest: string): Promise<void> {
    if (this.#entries.has(digest)) return Promise.resolve()
    const running = this.#loading.get(digest)
    if (running) return running
    const loading = this.#read(digest)
      .then((delta) => {
        this.#loads++
        this.#entries.set(digest, { delta, pins: 0 })
        this.#bytes += delta.bytes
        this.#shrink(digest)
      })
      .finally(() => this.#loading.delete(digest))
    this.#loading.set(digest, loading)
    return loading
  }

  /** Forgets the delta. False while it is pinned or being read: it would come back. */
  evict(digest: string): boolean {
    if (this.#loading.has(digest)) return false
    const entry = this.#entries.get(digest)
    if (!entry) return true
    if (entry.pins > 0) return false
    this.#entries.delete(digest)
    this.#bytes -= entry.delta.bytes
    this.#evictions++
    this.#onEvict(entry.delta)
    return true
  }

  /** Of what is in memory, the least recently used first. */
  digests(): string[] {
    return [...this.#entries.keys()]
  }

  stats(): AdapterCacheStats {
    return {
      entries: this.#entries.size,
      bytes: this.#bytes,
      hits: this.#hits,
      loads: this.#loads,
      evictions: this.#evictions,
    }
  }

  #touch(digest: string, entry: Entry): void {
    this.#entries.delete(digest)
    this.#entries.set(digest, entry)
  }

  /** Evicts down to the capacity. `newest` stays, too: whoever asked for it has yet to pin it. */
  #shrink(newest?: string): void {
    for (const digest of [...this.#entries.keys()]) {
      if (this.#bytes <= this.#capacityBytes) return
      if (digest !== newest && digest !== this.#next) this.evict(digest)
    }
  }
}
