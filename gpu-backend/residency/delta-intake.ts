// Takes in deltas without holding the server's thread up: they are hashed, checked and packed in a thread of their own.
// Knows neither where they come from nor where they are kept. Invariant: one delta at a time, from its check until it is
// kept, so that memory holds what is made of one, however many have arrived.
import type { BaseModel } from '../../adapters/base-model.ts'
import type { ModuleLimits } from '../../adapters/limits.ts'
import { BackendError } from '../errors.ts'
import type { ProjectionGroup } from '../model/projection-groups.ts'
import { TaskThread } from '../task-thread.ts'
import type { CheckedFile, IntakeOptions, IntakeRequest, PackedFile } from './intake-thread.ts'
import { receiveDelta } from './receive-delta.ts'

/** Where the deltas are kept. */
export interface DeltaStore<Taken> {
  has(digest: string): boolean
  keep(digest: string, delta: Taken): Promise<void>
}

export class DeltaIntake<Taken extends CheckedFile | PackedFile> {
  readonly #thread: TaskThread<IntakeRequest, Taken | undefined>
  readonly #store: DeltaStore<Taken>
  /** Ends when the delta before is kept or refused. */
  #previous: Promise<unknown> = Promise.resolve()
  #isClosed = false

  private constructor(options: IntakeOptions, store: DeltaStore<Taken>) {
    this.#thread = new TaskThread(new URL('./intake-thread.ts', import.meta.url), options, 'checks deltas')
    this.#store = store
  }

  /** Of canonical files, to be kept as they come. */
  static ofFiles(base: BaseModel, store: DeltaStore<CheckedFile>): DeltaIntake<CheckedFile> {
    return new DeltaIntake({ base, groups: undefined }, store)
  }

  /** Of canonical files, to be packed for the graph that reads `groups`. */
  static packing(
    base: BaseModel,
    groups: readonly ProjectionGroup[],
    store: DeltaStore<PackedFile>,
  ): DeltaIntake<PackedFile> {
    return new DeltaIntake({ base, groups }, store)
  }

  /**
   * Has the delta in the canonical file `body` kept, unless it is already.
   * @throws BackendError `digest_mismatch`, `invalid_delta`, `too_large`, and `unavailable` where the thread ends meanwhile
   */
  async take(digest: string, body: AsyncIterable<Uint8Array>, maxBytes: number, limits: ModuleLimits): Promise<void> {
    const blocks = await receiveDelta(body, maxBytes)
    const kept = this.#previous.then(async () => {
      const delta = await this.#check({ digest, blocks, limits, isKnown: this.#store.has(digest) })
      if (delta) await this.#store.keep(digest, delta)
    })
    this.#previous = kept.catch(() => undefined)
    await kept
  }

  /** What is being checked, or waits for it, is refused. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.#thread.close()
  }

  /** The delta as the thread gives it back, packed where it was told to, and only there; undefined where it is known. */
  #check(request: IntakeRequest): Promise<Taken | undefined> {
    if (this.#isClosed) throw new BackendError('unavailable', 'This backend takes no deltas: the engine has stopped.')
    return this.#thread.run(
      request,
      request.blocks.map(({ buffer }) => buffer),
    )
  }
}
