// Which deltas one vLLM server has loaded, and under which names: our table of it, and the calls that change it.
// Knows no requests: which deltas are at work is asked of its owner. Invariants: a digest is loaded once however many ask
// for it, and of its admissions the latest; loads of one digest follow each other, and none waits for another digest; a delta
// at work is never unloaded to make room; a name, the digest and a few digits more, is used for one load only.
// Why: vLLM (0.32) takes two loads under one name for one adapter, and dies when requests of both are in a batch, as when a
// delta is loaded again while what a client left behind still runs.
import type { SharedAdapter } from './shared-adapters.ts'
import { type VllmClient, VllmLost, type VllmModel, VllmRefusal } from './vllm-client.ts'

const DIGEST_LENGTH = 'sha256:'.length + 64

interface Loaded {
  readonly adapter: SharedAdapter
  readonly name: string
}

/** What is asked of the deltas' owner. */
export interface AdaptersOwner {
  isAtWork(digest: string): boolean
  /** Aborted when the server is given up: calls that wait for it would wait in vain. */
  gone(): AbortSignal
}

export class ResidentAdapters {
  readonly #client: VllmClient
  readonly #capacity: number
  readonly #owner: AdaptersOwner
  /** In order of use: the least recently used first. */
  readonly #loaded = new Map<string, Loaded>()
  readonly #loading = new Map<string, Promise<string>>()
  /** By digest: the end of the last call about it. */
  readonly #calls = new Map<string, Promise<unknown>>()
  /** Grows when the server has restarted: what was begun before has no effect any more. */
  #lives = 0
  #hits = 0
  #loads = 0
  #evictions = 0

  /** `capacity`: deltas that the server keeps in memory (--max-cpu-loras). */
  constructor(client: VllmClient, capacity: number, owner: AdaptersOwner) {
    this.#client = client
    this.#capacity = capacity
    this.#owner = owner
  }

  get hits(): number {
    return this.#hits
  }

  get loads(): number {
    return this.#loads
  }

  get evictions(): number {
    return this.#evictions
  }

  get bytes(): number {
    return this.#loaded.values().reduce((sum, { adapter }) => sum + adapter.bytes, 0)
  }

  digests(): string[] {
    return [...this.#loaded.keys()]
  }

  has(digest: string): boolean {
    return this.#loaded.has(digest)
  }

  /**
   * Resolves when the server has the delta, to its name there.
   * @throws VllmRefusal where it cannot apply or find it, VllmLost where it cannot be reached
   */
  ensure(adapter: SharedAdapter): Promise<string> {
    const { digest, path } = adapter
    const loaded = this.#loaded.get(digest)
    if (loaded?.adapter.path === path) {
      this.#hits++
      this.#loaded.delete(digest)
      this.#loaded.set(digest, loaded)
      return Promise.resolve(loaded.name)
    }
    const running = this.#loading.get(path)
    if (running) return running
    const loading = this.#inTurn(digest, () => this.#load(adapter)).finally(() => this.#loading.delete(path))
    this.#loading.set(path, loading)
    return loading
  }

  /** The server does not know the delta by this name; the table may have it by another already. */
  lost(digest: string, name: string): void {
    if (this.#loaded.get(digest)?.name === name) this.#loaded.delete(digest)
  }

  /** Unloads the delta where this very admission of it is loaded. A server that cannot be reached has lost it anyway. */
  async unload({ digest, path }: SharedAdapter): Promise<void> {
    await this.#inTurn(digest, async () => {
      const loaded = this.#loaded.get(digest)
      if (loaded?.adapter.path === path) await this.#evict(loaded)
    })
  }

  /** After the server has started: the table is what the server says. `find` tells which of its deltas are ours. */
  restart(models: readonly VllmModel[], find: (digest: string) => SharedAdapter | undefined): void {
    this.#lives++
    this.#loaded.clear()
    for (const { id, root } of models) {
      const adapter = find(id.slice(0, DIGEST_LENGTH))
      if (!adapter || adapter.path !== root || this.#loaded.size >= this.#capacity) continue
      this.#loaded.set(adapter.digest, { adapter, name: id })
    }
  }

  async #load(adapter: SharedAdapter): Promise<string> {
    const { digest, path } = adapter
    const name = `${digest}-${crypto.randomUUID().slice(0, 8)}`
    const lives = this.#lives
    // Of an earlier admission: what runs with it there goes on.
    const earlier = this.#loaded.get(digest)
    if (earlier) await this.#evict(earlier)
    await this.#makeRoom()
    await this.#client.loadAdapter(name, path, this.#owner.gone())
    if (lives !== this.#lives) throw new VllmLost('the server restarted while it loaded an adapter')
    this.#loads++
    this.#loaded.set(digest, { adapter, name })
    return name
  }

  async #makeRoom(): Promise<void> {
    while (this.#loaded.size + this.#loading.size > this.#capacity) {
      const idle = this.#loaded.values().find(({ adapter }) => !this.#owner.isAtWork(adapter.digest))
      if (!idle) return
      await this.#evict(idle)
    }
  }

  async #evict({ adapter, name }: Loaded): Promise<void> {
    this.#loaded.delete(adapter.digest)
    this.#evictions++
    try {
      await this.#client.unloadAdapter(name, this.#owner.gone())
    } catch (error) {
      if (!(error instanceof VllmRefusal || error instanceof VllmLost)) throw error
    }
  }

  #inTurn<T>(digest: string, call: () => Promise<T>): Promise<T> {
    const before = this.#calls.get(digest) ?? Promise.resolve()
    const result = before.then(call, call)
    const settled = result.catch(() => undefined)
    this.#calls.set(digest, settled)
    void settled.then(() => {
      if (this.#calls.get(digest) === settled) this.#calls.delete(digest)
    })
    return result
  }
}
