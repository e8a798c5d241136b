// Takes in deltas without holding the server's thread up: they are hashed, checked and packed in a thread of their own.
// Knows neither where they come from nor where they are kept. Invariant: one delta at a time, from its check until it is
// kept, so that memory holds what is made of one, however many have arrived.
import { Worker } from 'node:worker_threads'
import type { BaseModel } from '../../adapters/base-model.ts'
import type { ModuleLimits } from '../../adapters/limits.ts'
import { BackendError } from '../errors.ts'
import type { ProjectionGroup } from '../model/projection-groups.ts'
import type { CheckedFile, IntakeAnswer, IntakeOptions, IntakeRequest, PackedFile } from './intake-thread.ts'
import { receiveDelta } from './receive-delta.ts'

/** Where the deltas are kept. */
export interface DeltaStore<Taken> {
  has(digest: string): boolean
  keep(digest: string, delta: Taken): Promise<void>
}

export class DeltaIntake<Taken extends CheckedFile | PackedFile> {
  readonly #options: IntakeOptions
  readonly #store: DeltaStore<Taken>
  /** Ends when the delta before is kept or refused. */
  #previous: Promise<unknown> = Promise.resolve()
  #worker: Worker | undefined
  #answer: PromiseWithResolvers<IntakeAnswer> | undefined
  #isClosed = false

  private constructor(options: IntakeOptions, store: DeltaStore<Taken>) {
    this.#options = options
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
    await this.#worker?.terminate()
  }

  /** The delta as the thread gives it back; undefined where it is known. */
  async #check(request: IntakeRequest): Promise<Taken | undefined> {
    if (this.#isClosed) throw new BackendError('unavailable', 'This backend takes no deltas: the engine has stopped.')
    this.#answer = Promise.withResolvers()
    this.#worker ??= this.#start()
    this.#worker.postMessage(
      request,
      request.blocks.map(({ buffer }) => buffer),
    )
    const answer = await this.#answer.promise
    if ('code' in answer) throw new BackendError(answer.code, answer.message)
    // The thread packs where it was told to, and only there.
    return answer.delta as Taken | undefined
  }

  #start(): Worker {
    const worker = new Worker(new URL('./intake-thread.ts', import.meta.url), { workerData: this.#options })
    // It does not keep the process alive.
    worker.unref()
    worker.on('message', (answer: IntakeAnswer) => this.#answer?.resolve(answer))
    let reason = 'it was closed'
    worker.on('error', (error) => {
      reason = error.message
    })
    worker.once('exit', () => {
      this.#worker = undefined
      this.#answer?.reject(new BackendError('unavailable', `The thread that checks deltas has ended: ${reason}.`))
    })
    return worker
  }
}
