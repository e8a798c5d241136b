// A thread for one kind of work that would hold the server's thread up, and the thread's own end of it.
// Knows nothing of the work. Invariant: requests are answered one at a time, in the order in which they came, and all that are
// open fail when the thread ends; the next request starts another.
import { parentPort, Worker } from 'node:worker_threads'
import { BackendError } from './errors.ts'
import type { ErrorCode } from './protocol.ts'

type Answer<Result> = { readonly result: Result } | { readonly code: ErrorCode; readonly message: string }

export class TaskThread<Request, Result> {
  readonly #module: URL
  readonly #workerData: unknown
  readonly #work: string
  readonly #open: PromiseWithResolvers<Result>[] = []
  #worker: Worker | undefined

  /** `module` calls `runTasks` and reads `workerData`; `work` says in an error what the thread does. */
  constructor(module: URL, workerData: unknown, work: string) {
    this.#module = module
    this.#workerData = workerData
    this.#work = work
  }

  /** @throws BackendError as the thread's work does, and `unavailable` where the thread ends meanwhile */
  async run(request: Request, transfer: readonly ArrayBuffer[] = []): Promise<Result> {
    this.#worker ??= this.#start()
    this.#worker.postMessage(request, transfer)
    // Only now: what the thread was not given has no answer, and would take the next one's.
    const answered = Promise.withResolvers<Result>()
    this.#open.push(answered)
    return answered.promise
  }

  async close(): Promise<void> {
    await this.#worker?.terminate()
  }

  #start(): Worker {
    const worker = new Worker(this.#module, { workerData: this.#workerData })
    // It does not keep the process alive.
    worker.unref()
    worker.on('message', (answer: Answer<Result>) => {
      const answered = this.#open.shift()
      if ('result' in answer) answered?.resolve(answer.result)
      else answered?.reject(new BackendError(answer.code, answer.message))
    })
    let reason = 'it was closed'
    worker.on('error', (error) => {
      reason = error.message
    })
    worker.once('exit', () => {
      this.#worker = undefined
      const failure = new BackendError('unavailable', `The thread that ${this.#work} has ended: ${reason}.`)
      for (const answered of this.#open.splice(0)) answered.reject(failure)
    })
    return worker
  }
}

/**
 * The thread's end: answers each request with what `run` makes of it, or with the BackendError that it throws.
 * `givenWith` names the memory that goes with a result instead of being copied.
 */
export function runTasks<Request, Result>(
  run: (request: Request) => Result,
  givenWith: (result: Result) => ArrayBuffer[] = () => [],
): void {
  parentPort!.on('message', (request: Request) => {
    try {
      const result = run(request)
      parentPort!.postMessage({ result } satisfies Answer<Result>, givenWith(result))
    } catch (error) {
      if (!(error instanceof BackendError)) throw error
      parentPort!.postMessage({ code: error.code, message: error.message } satisfies Answer<Result>)
    }
  })
}
