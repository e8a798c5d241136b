// The server's end of the engine's thread: sequences go in, what the thread says of each comes back.
// Knows neither text nor files. Invariant: a sequence that was sent is answered, ended, failed or cancelled exactly once,
// even when the thread dies; one that the thread is done with counts no more, whether its answer has been read or not.
import { Worker } from 'node:worker_threads'
import { BackendError, StartupError } from '../../errors.ts'
import type { TokenTrie } from '../../grammar/token-trie.ts'
import { log } from '../../log.ts'
import type { SequenceRequest } from '../../scheduler/sequence.ts'
import type { SequenceMessage } from '../answer-events.ts'
import { Inbox } from '../inbox.ts'
import type { FromWorker, ToWorker, WorkerOptions, WorkerReport } from './messages.ts'

/** Whose a sequence is, and where what comes back for it goes. */
interface Sent {
  readonly tenant: string
  readonly inbox: Inbox
}

export class EngineThread {
  readonly #worker: Worker
  /** By sequence id: those that the thread has, waiting or running. */
  readonly #sent = new Map<number, Sent>()
  readonly #calls = new Map<number, PromiseWithResolvers<FromWorker>>()
  readonly #exited: Promise<void>
  #lastId = 0
  #failure: BackendError | undefined
  #isClosing = false

  private constructor(worker: Worker) {
    this.#worker = worker
    worker.on('message', (message: FromWorker) => this.#receive(message))
    worker.on('error', (error) => this.#fail(`the engine's thread failed: ${error.message}`))
    this.#exited = new Promise((resolve) => {
      worker.once('exit', () => {
        this.#fail('the engine has stopped')
        resolve()
      })
    })
  }

  /**
   * Resolves when the graph is loaded; meanwhile, in this thread, `readVocabulary` gives what grammars need of the tokenizer,
   * undefined where it is of a kind that none can be put on.
   * @throws StartupError when the graph or the device cannot be used
   */
  static async start(
    workerData: WorkerOptions,
    readVocabulary: () => TokenTrie | undefined,
  ): Promise<{ thread: EngineThread; vocabulary: TokenTrie | undefined }> {
    const worker = new Worker(new URL('./worker.ts', import.meta.url), { workerData })
    const ready = new Promise<void>((resolve, reject) => {
      const fail = (reason: string) => reject(new StartupError(reason))
      worker.once('message', (message: FromWorker) => {
        if (message.type === 'ready') resolve()
        else fail(message.type === 'fatal' ? message.message : 'The engine did not start.')
      })
      worker.once('error', (error) => fail(`The engine did not start: ${error.message}`))
      worker.once('exit', () => fail('The engine did not start: its thread has ended.'))
    })
    const vocabulary = readVocabulary()
    worker.postMessage({ type: 'vocabulary', vocabulary } satisfies ToWorker)
    await ready
    return { thread: new EngineThread(worker), vocabulary }
  }

  /** Sequences that wait or run, of all or of one tenant. */
  sequences(tenant?: string): number {
    if (tenant === undefined) return this.#sent.size
    return this.#sent.values().reduce((sum, sent) => sum + Number(sent.tenant === tenant), 0)
  }

  /** @throws BackendError `unavailable` when the thread has failed or was closed */
  checkAlive(): void {
    if (this.#failure) throw this.#failure
  }

  /** An id that no other sequence or call has. */
  nextId(): number {
    return ++this.#lastId
  }

  /**
   * Sends the sequences, when the first item is asked for, and yields what comes back for each by its id, until all have
   * ended or the signal aborts. What is still open when the reader stops is cancelled.
   * @throws BackendError of the first sequence that fails
   */
  async *run(
    sequences: readonly SequenceRequest[],
    signal: AbortSignal,
  ): AsyncGenerator<readonly [number, SequenceMessage]> {
    if (signal.aborted) return
    this.checkAlive()
    const inbox = new Inbox(sequences.map(({ id }) => id))
    for (const { id, tenant } of sequences) this.#sent.set(id, { tenant, inbox })
    try {
      this.#post({ type: 'add', sequences })
      yield* inbox.read(signal)
    } finally {
      const { open } = inbox
      for (const id of open) this.#sent.delete(id)
      if (open.size > 0) this.#post({ type: 'cancel', ids: [...open] })
    }
  }

  /** Ends a sequence whose text has reached a stop string. */
  stop(id: number): void {
    this.#post({ type: 'stop', id })
  }

  /** Resolves when the thread has forgotten the delta, once no sequence runs with it. */
  async evict(digest: string): Promise<void> {
    await this.#call('evicted', (call) => ({ type: 'evict', digest, call }))
  }

  async report(): Promise<WorkerReport> {
    return (await this.#call('report', (call) => ({ type: 'report', call }))).report
  }

  /** Stops the thread; what runs fails with `unavailable`. */
  async close(): Promise<void> {
    this.#isClosing = true
    this.#post({ type: 'close' })
    await this.#exited
  }

  #receive(message: FromWorker): void {
    switch (message.type) {
      case 'step':
        for (const token of message.tokens) this.#sent.get(token.id)?.inbox.push(token.id, { type: 'token', token })
        for (const end of message.ended) this.#last(end.id)?.push(end.id, { type: 'ended', end })
        return
      case 'started':
        this.#sent.get(message.id)?.inbox.push(message.id, message)
        return
      case 'embedded':
        this.#last(message.id)?.push(message.id, message)
        return
      case 'failed': {
        const { id, code, param } = message
        this.#last(id)?.fail(new BackendError(code, message.message, { param }))
        return
      }
      case 'evicted':
      case 'report':
        this.#calls.get(message.call)?.resolve(message)
        this.#calls.delete(message.call)
        return
      case 'loaded':
        log('info', 'loaded', { ms: message.ms })
        return
      case 'fatal':
        // By itself it would sit there for ever.
        this.#fail(message.message)
        void this.#worker.terminate()
    }
  }

  /** The inbox of a sequence that the thread is done with. */
  #last(id: number): Inbox | undefined {
    const sent = this.#sent.get(id)
    this.#sent.delete(id)
    return sent?.inbox
  }

  #fail(reason: string): void {
    // Of what follows from it nothing more is said.
    if (!this.#failure && !this.#isClosing) log('error', 'engine_failed', { reason })
    this.#failure ??= new BackendError('unavailable', `This backend cannot generate: ${reason}.`)
    for (const { inbox } of this.#sent.values()) inbox.fail(this.#failure)
    this.#sent.clear()
    for (const call of this.#calls.values()) call.reject(this.#failure)
    this.#calls.clear()
  }

  async #call<T extends FromWorker['type']>(
    answer: T,
    make: (call: number) => ToWorker,
  ): Promise<Extract<FromWorker, { type: T }>> {
    this.checkAlive()
    const call = this.nextId()
    const answered = Promise.withResolvers<FromWorker>()
    this.#calls.set(call, answered)
    this.#post(make(call))
    const message = await answered.promise
    if (message.type !== answer) throw new Error(`Expected "${answer}" of the engine's thread, got "${message.type}".`)
    return message as Extract<FromWorker, { type: T }>
  }

  #post(message: ToWorker): void {
    this.#worker.postMessage(message)
  }
}
