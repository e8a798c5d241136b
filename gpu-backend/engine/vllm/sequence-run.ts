// One sequence on its way through vLLM: it waits for a place, brings its delta there, streams, ends once.
// Knows no other sequences. Invariants: after its last message nothing more is said; its delta is held until vLLM has
// let go of it; a server that is lost before the first token costs it nothing but time.
import { BackendError } from '../../errors.ts'
import { log } from '../../log.ts'
import type { FinishReason, SamplingParams, Tier } from '../../protocol.ts'
import { adapterMissing } from '../../residency/adapter-missing.ts'
import type { EndOfSequence, SequenceMessage } from '../answer-events.ts'
import { completionRequest, sampledTokens } from './completion-request.ts'
import type { Dispatched, Dispatcher } from './dispatcher.ts'
import type { BatchSize, Replica } from './replica.ts'
import type { SharedAdapter } from './shared-adapters.ts'
import { VllmLost, VllmRefusal, VllmStalled } from './vllm-client.ts'

export interface SequenceOptions {
  readonly id: number
  readonly requestId: string
  readonly tenant: string
  readonly adapter: SharedAdapter | undefined
  readonly promptTokens: Int32Array
  readonly sampling: SamplingParams
  readonly seed: number | undefined
  readonly endTokenIds: readonly number[]
  readonly maxTokens: number
  /** Milliseconds since the epoch. */
  readonly deadlineMs: number | undefined
  readonly onMessage: (message: SequenceMessage) => void
  readonly onFailure: (error: BackendError) => void
  /** A server cannot read the delta's files. */
  readonly onUnreadable: (digest: string) => void
  /** vLLM has let go of it. */
  readonly onSettled: (run: SequenceRun) => void
}

/** Servers that may be lost under one sequence before it fails. */
const MAX_MOVES = 3
/** Times that another backend of the same server may unload its delta just before it begins. */
const MAX_RELOADS = 20
/** Longest time a timer takes. */
const MAX_TIMER_MS = 2 ** 31 - 1

export class SequenceRun implements Dispatched {
  readonly id: number
  readonly tenant: string
  readonly digest: string | null
  readonly #options: SequenceOptions
  readonly #dispatcher: Dispatcher
  readonly #abort = new AbortController()
  readonly #deadline: NodeJS.Timeout | undefined
  #replica: Replica | undefined
  #isOver = false
  #isSettled = false
  #hasStarted = false
  #moves = 0
  #reloads = 0
  #tokens = 0
  #cachedTokens = 0

  constructor(options: SequenceOptions, dispatcher: Dispatcher) {
    this.id = options.id
    this.tenant = options.tenant
    this.digest = options.adapter?.digest ?? null
    this.#options = options
    this.#dispatcher = dispatcher
    if (options.deadlineMs !== undefined) {
      const leftMs = Math.min(Math.max(0, options.deadlineMs - Date.now()), MAX_TIMER_MS)
      this.#deadline = setTimeout(() => this.end('deadline'), leftMs)
    }
  }

  get tokens(): number {
    return this.#tokens
  }

  get cachedTokens(): number {
    return this.#cachedTokens
  }

  /** Ends it with what there is. */
  end(reason: FinishReason): void {
    if (this.#isOver) return
    const size = this.#finish()
    const end: EndOfSequence = {
      reason,
      cachedTokens: this.#cachedTokens,
      batchRows: size.rows,
      batchDeltas: size.deltas,
    }
    this.#options.onMessage({ type: 'ended', end })
  }

  /** Ends it without a word. */
  cancel(): void {
    if (!this.#isOver) this.#finish()
  }

  fail(error: BackendError): void {
    if (this.#isOver) return
    this.#finish()
    this.#options.onFailure(error)
  }

  start(replica: Replica): void {
    this.#replica = replica
    void this.#run(replica)
  }

  async #run(replica: Replica): Promise<void> {
    const { adapter } = this.#options
    const tier = this.#tierOn(replica)
    let model = replica.baseName
    try {
      if (adapter) model = await this.#load(replica, adapter)
      if (!this.#isOver) await this.#stream(replica, model, tier)
    } catch (error) {
      await this.#failed(replica, model, error)
    }
    this.#settle()
  }

  /** The delta's name there. */
  async #load(replica: Replica, adapter: SharedAdapter): Promise<string> {
    try {
      return await replica.adapters.ensure(adapter)
    } catch (error) {
      if (!(error instanceof VllmRefusal)) throw error
      // It was taken in once, so its files have been damaged since: as good as not there, the edge sends it again.
      this.#options.onUnreadable(adapter.digest)
      throw adapterMissing(adapter.digest)
    }
  }

  async #stream(replica: Replica, model: string, tier: Tier | null): Promise<void> {
    const { onMessage, sampling } = this.#options
    const signal = AbortSignal.any([this.#abort.signal, replica.gone])
    const chunks = await replica.client.complete(completionRequest({ ...this.#options, model }), signal)
    if (!this.#hasStarted) onMessage({ type: 'started', tier })
    this.#hasStarted = true
    let reason: FinishReason | undefined
    for await (const chunk of chunks) {
      replica.heard()
      if (this.#isOver) return
      this.#cachedTokens = chunk.usage?.prompt_tokens_details?.cached_tokens ?? this.#cachedTokens
      for (const token of sampledTokens(chunk, sampling.logprobs)) {
        this.#tokens++
        onMessage({ type: 'token', token })
        if (this.#isOver) return
      }
      const finish = chunk.choices[0]?.finish_reason
      if (finish === 'stop' || finish === 'length') reason = finish
      else if (finish) throw new VllmLost(`the server ended the answer with "${finish}"`)
    }
    if (!reason) throw new VllmLost('the answer broke off')
    this.end(reason)
  }

  async #failed(replica: Replica, model: string, error: unknown): Promise<void> {
    if (this.#isOver) return
    if (error instanceof VllmRefusal && error.status === 404 && ++this.#reloads <= MAX_RELOADS) {
      // The server has forgotten the delta, by a restart or by another backend's doing.
      if (this.digest === null) replica.lost(error)
      else replica.adapters.lost(this.digest, model)
    } else if (error instanceof VllmRefusal) {
      const code = error.status === 404 ? 'unavailable' : error.status < 500 ? 'bad_request' : 'internal'
      this.fail(new BackendError(code, `vLLM refuses the request: ${error.message}.`))
      return
    } else if (error instanceof VllmLost) {
      if (error instanceof VllmStalled) replica.stalled(error)
      await replica.suspect(error)
      if (this.#isOver) return
      if (this.#tokens > 0 || ++this.#moves > MAX_MOVES) {
        const { requestId } = this.#options
        log('error', 'vllm_answer_lost', { request_id: requestId, replica: replica.name, reason: error.message })
        this.fail(new BackendError('unavailable', 'The vLLM server was lost in the middle of the answer: ask again.'))
        return
      }
    } else if (error instanceof BackendError) {
      this.fail(error)
      return
    } else {
      const reason = String(error).replace(/\s+/g, ' ')
      this.fail(new BackendError('internal', `What vLLM answered cannot be read: ${reason}.`))
      return
    }
    replica.leave(this)
    this.#replica = undefined
    this.#dispatcher.add(this)
  }

  #tierOn(replica: Replica): Tier | null {
    if (this.digest === null) return null
    // It has entered the batch itself.
    if (replica.countAtWork(this.digest) > 1) return 'device'
    return replica.hasLoaded(this.digest) ? 'host' : 'disk'
  }

  /** No more messages, no more place; the server may take a moment to notice. */
  #finish(): BatchSize {
    this.#isOver = true
    clearTimeout(this.#deadline)
    const size = this.#replica?.leave(this) ?? { rows: 0, deltas: 0 }
    if (!this.#replica) this.#dispatcher.remove(this)
    this.#abort.abort()
    if (!this.#replica) this.#settle()
    this.#dispatcher.pump()
    return size
  }

  /** The server is done with it, unless it waits for another one. */
  #settle(): void {
    if (!this.#isOver || this.#isSettled) return
    this.#isSettled = true
    this.#replica = undefined
    this.#options.onSettled(this)
  }
}
