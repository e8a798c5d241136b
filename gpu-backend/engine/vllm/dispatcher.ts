// The sequences that wait for a vLLM server, and who is next: tenants in turn, a tenant's own in order.
// vLLM batches what it is given, first come first served; fairness, bounds and slots are kept here, by giving it no more
// than it runs at once. Knows no HTTP. Invariant: a sequence is waiting, on one server, or gone.
import { BackendError } from '../../errors.ts'
import { FairQueue } from '../../scheduler/fair-queue.ts'
import { isNextKept } from '../../scheduler/scheduler.ts'
import { choosePlace, type PlaceLimits } from './placement.ts'
import type { Guest, Replica } from './replica.ts'

/** A sequence as the dispatcher sees it. */
export interface Dispatched extends Guest {
  /** Called once it has a place, which it gives up by `Replica.leave`. */
  start(replica: Replica): void
  fail(error: BackendError): void
}

/** Why nothing can run. */
export function noServer(): BackendError {
  return new BackendError('unavailable', 'No vLLM server is ready: try again later or use another backend.')
}

/** A sequence whose delta finds no slot may be overtaken by so many times as many as there are rows; then by nobody. */
const MAX_OVERTAKING_BATCHES = 2

export class Dispatcher {
  readonly #replicas: readonly Replica[]
  readonly #limits: PlaceLimits
  readonly #waiting = new FairQueue<Dispatched>()
  /** How often a sequence was overtaken while it was first in turn, which it may be again and again. */
  readonly #overtaken = new WeakMap<Dispatched, number>()

  constructor(replicas: readonly Replica[], limits: PlaceLimits) {
    this.#replicas = replicas
    this.#limits = limits
  }

  get waiting(): number {
    return this.#waiting.size
  }

  get running(): number {
    return this.#replicas.reduce((sum, { running }) => sum + running, 0)
  }

  /** Fails it at once where no server is well: a restart takes minutes, and another backend may have one. */
  add(sequence: Dispatched): void {
    if (!this.#replicas.some(({ isReady }) => isReady)) {
      sequence.fail(noServer())
      return
    }
    this.#waiting.push(sequence)
    this.pump()
  }

  /** Takes out a sequence that waits. */
  remove(sequence: Dispatched): void {
    this.#waiting.remove((item) => item === sequence)
  }

  /** Gives every sequence its place that has one now. To be called whenever one may have become free. */
  pump(): void {
    for (let next = this.#next(); next; next = this.#next()) {
      const replica = this.#placeOf(next)!
      replica.enter(next)
      next.start(replica)
    }
  }

  /** To be called when a server has become well or unwell. */
  serversChanged(): void {
    if (this.#replicas.some(({ isReady }) => isReady)) this.pump()
    else for (const sequence of this.#waiting.remove(() => true)) sequence.fail(noServer())
  }

  #next(): Dispatched | undefined {
    const holders = this.#holders()
    const first = this.#waiting.heads().find(({ tenant }) => !holders.has(tenant))
    if (!first) return undefined
    const overtaken = this.#overtaken.get(first) ?? 0
    const isBarred = overtaken >= MAX_OVERTAKING_BATCHES * this.#limits.rows
    const next = this.#waiting.take((item) => {
      return !holders.has(item.tenant) && (!isBarred || item === first) && this.#placeOf(item) !== undefined
    })
    if (next && next !== first) this.#overtaken.set(first, overtaken + 1)
    return next
  }

  /** Tenants that the next row is not for: those that have one, where it is kept for the others. */
  #holders(): ReadonlySet<string> {
    const ready = this.#replicas.filter(({ isReady }) => isReady)
    const running = ready.reduce((sum, replica) => sum + replica.running, 0)
    const isKept = isNextKept(ready.length * this.#limits.rows, running)
    return new Set(isKept ? ready.flatMap(({ tenants }) => [...tenants]) : [])
  }

  #placeOf({ digest }: Dispatched): Replica | undefined {
    return choosePlace(digest, this.#replicas, this.#limits)
  }
}
