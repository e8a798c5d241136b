// One vLLM server as the engine sees it: whether it is well, which deltas it has, what runs there.
// Knows neither tokens nor how the server was started. Invariant: it counts as ready only after `check` has passed since it
// was last seen unwell, and its table of deltas is the server's own from then on.
import { setTimeout as sleep } from 'node:timers/promises'
import { StartupError } from '../../errors.ts'
import { log } from '../../log.ts'
import type { Place } from './placement.ts'
import { ResidentAdapters } from './resident-adapters.ts'
import type { SharedAdapter } from './shared-adapters.ts'
import { STALL_MS, type VllmClient } from './vllm-client.ts'

/** What must hold of a server before it is used; returns the base's name there. @throws StartupError where it is the wrong one */
export type CheckServer = () => Promise<string>

export interface ReplicaOptions {
  /** For logs and as a label of its figures. */
  readonly name: string
  readonly client: VllmClient
  /** Deltas that the server keeps in memory. */
  readonly adapterCapacity: number
  readonly check: CheckServer
  readonly findAdapter: (digest: string) => SharedAdapter | undefined
  readonly onChange: () => void
  /** It was well, was lost a while ago, and has not come back since. */
  readonly onHung: () => void
}

const WELL_CHECK_MS = 2_000
const UNWELL_CHECK_MS = 500
/** A busy server may be late once or twice. */
const MAX_FAILED_CHECKS = 3
/** One that pauses, as a machine that is moved does, comes back by itself. */
const HUNG_MS = 60_000
/** One that is up, but fails its check so often in a row, is not the right one. */
const MAX_FAILED_STARTS = 10

/** What runs on a server, as the server sees it. */
export interface Guest {
  readonly tenant: string
  /** null: the bare base model. */
  readonly digest: string | null
}

/** The fullest batch that a sequence was part of. */
export interface BatchSize {
  rows: number
  deltas: number
}

export class Replica implements Place {
  readonly name: string
  readonly client: VllmClient
  readonly adapters: ResidentAdapters
  readonly #options: ReplicaOptions
  readonly #running = new Map<Guest, BatchSize>()
  readonly #closed = new AbortController()
  #wake = new AbortController()
  #life = new AbortController()
  #isReady = false
  #baseName = ''
  #failedStarts = 0
  #unwell: unknown
  /** When a part of an answer last came from it. */
  #heardMs = 0
  #hung: NodeJS.Timeout | undefined

  constructor(options: ReplicaOptions) {
    this.name = options.name
    this.client = options.client
    this.#options = options
    this.adapters = new ResidentAdapters(options.client, options.adapterCapacity, {
      isAtWork: (digest) => this.atWork.has(digest),
      gone: () => this.gone,
    })
  }

  /** Aborted when the server has not answered for a while: what runs there would wait for it in vain. */
  get gone(): AbortSignal {
    return this.#life.signal
  }

  get isReady(): boolean {
    return this.#isReady
  }

  /** Why it is not ready. */
  get unwell(): unknown {
    return this.#unwell
  }

  /** The base model's name there. */
  get baseName(): string {
    return this.#baseName
  }

  get running(): number {
    return this.#running.size
  }

  get atWork(): ReadonlySet<string> {
    return new Set(this.#running.keys().flatMap(({ digest }) => (digest === null ? [] : [digest])))
  }

  /** Those whose sequences run there. */
  get tenants(): ReadonlySet<string> {
    return new Set(this.#running.keys().map(({ tenant }) => tenant))
  }

  /** Sequences that run with the delta. */
  countAtWork(digest: string): number {
    return this.#running.keys().reduce((count, sequence) => count + (sequence.digest === digest ? 1 : 0), 0)
  }

  hasLoaded(digest: string): boolean {
    return this.adapters.has(digest)
  }

  enter(sequence: Guest): void {
    this.#running.set(sequence, { rows: 0, deltas: 0 })
    const [rows, deltas] = [this.#running.size, this.atWork.size]
    for (const size of this.#running.values()) {
      size.rows = Math.max(size.rows, rows)
      size.deltas = Math.max(size.deltas, deltas)
    }
  }

  /** The sequence is over; returns the fullest batch that it was part of. */
  leave(sequence: Guest): BatchSize {
    const size = this.#running.get(sequence) ?? { rows: 0, deltas: 0 }
    this.#running.delete(sequence)
    return size
  }

  /** Looks after the server until `close`. */
  async watch(): Promise<void> {
    let failed = 0
    while (!this.#closed.signal.aborted) {
      try {
        if (this.#isReady) await this.client.health()
        else await this.#become()
        failed = 0
      } catch (error) {
        failed++
        if (failed >= MAX_FAILED_CHECKS) this.#giveUp(error)
        else if (!this.#isReady) this.lost(error)
      }
      await this.#pause(this.#isReady ? WELL_CHECK_MS : UNWELL_CHECK_MS)
    }
  }

  /** A call broke off there: the server is given up only where it does not say that it is well. */
  async suspect(reason: unknown): Promise<void> {
    if (this.#isReady) await this.client.health().catch(() => this.lost(reason))
  }

  /** A part of an answer has come from there. */
  heard(): void {
    this.#heardMs = Date.now()
  }

  /** A call has waited in vain. Where nothing else came meanwhile, its engine hangs, which its health does not tell. */
  stalled(reason: unknown): void {
    if (this.#isReady && Date.now() - this.#heardMs > STALL_MS / 2) this.#giveUp(reason)
  }

  /** Something says that the server is gone: it is not used again before it has been checked anew. */
  lost(reason: unknown): void {
    const text = messageOf(reason)
    if (this.#isReady || (reason instanceof StartupError && text !== messageOf(this.#unwell)))
      log('error', 'vllm_lost', { replica: this.name, reason: text })
    const wasReady = this.#isReady
    this.#isReady = false
    this.#unwell = reason
    if (wasReady) {
      this.#wake.abort()
      this.#hung = setTimeout(() => this.#options.onHung(), HUNG_MS)
    }
    this.#options.onChange()
  }

  close(): void {
    this.#isReady = false
    clearTimeout(this.#hung)
    this.#closed.abort()
    this.#wake.abort()
  }

  /** What runs there would wait for it in vain. */
  #giveUp(reason: unknown): void {
    this.lost(reason)
    this.#life.abort()
  }

  async #become(): Promise<void> {
    await this.client.health()
    this.#baseName = await this.#check()
    this.adapters.restart(await this.client.models(), this.#options.findAdapter)
    this.#unwell = undefined
    clearTimeout(this.#hung)
    if (this.#life.signal.aborted) this.#life = new AbortController()
    this.#isReady = true
    log('info', 'vllm_ready', { replica: this.name })
    this.#options.onChange()
  }

  /** @throws StartupError where it is the wrong server, or answers and never as it must */
  async #check(): Promise<string> {
    try {
      const baseName = await this.#options.check()
      this.#failedStarts = 0
      return baseName
    } catch (error) {
      if (error instanceof StartupError || ++this.#failedStarts < MAX_FAILED_STARTS) throw error
      throw new StartupError(
        `The vLLM server at ${this.name} is up, but does not answer as it must: ${messageOf(error).replace(/\.?$/, '.')}`,
      )
    }
  }

  async #pause(ms: number): Promise<void> {
    this.#wake = new AbortController()
    if (this.#closed.signal.aborted) return
    await sleep(ms, undefined, { signal: this.#wake.signal }).catch(() => {})
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
