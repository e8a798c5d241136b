// A second thread that runs graphs: half of a batch there while the engine's thread runs the other half. Why not ONNX Runtime's
// own threads: they meet after each of a thousand operators, and idle in the many small ones that one of them computes alone.
// Knows no rows. Invariant: the second thread touches nothing unless `runBoth` is waiting for it.
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { OnnxRuntime, Session } from './ort.ts'
import { OrtError } from './ort-api.ts'
import type { Binding } from './ort-binding.ts'

/** A graph, and what it is to be run with. */
export interface GraphRun {
  readonly session: Session
  readonly binding: Binding
}

/** What the two threads tell each other through. */
export interface Exchange {
  /** [1]: one of STATE */
  readonly state: Int32Array<SharedArrayBuffer>
  /** [3]: the addresses of the session, of the binding, and of the status that came of it, 0 where nothing went wrong */
  readonly run: BigUint64Array<SharedArrayBuffer>
}

export const STATE = { idle: 0, running: 1, failed: 2, closed: 3 } as const

export class SecondThread {
  readonly #runtime: OnnxRuntime
  readonly #exchange: Exchange

  private constructor(runtime: OnnxRuntime, exchange: Exchange) {
    this.#runtime = runtime
    this.#exchange = exchange
  }

  /** @throws OrtError where the thread does not start */
  static async start(runtime: OnnxRuntime): Promise<SecondThread> {
    const exchange: Exchange = {
      state: new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)),
      run: new BigUint64Array(new SharedArrayBuffer(3 * BigUint64Array.BYTES_PER_ELEMENT)),
    }
    const worker = new Worker(new URL('./second-thread-worker.ts', import.meta.url), { workerData: exchange })
    try {
      await once(worker, 'message')
    } catch (error) {
      throw new OrtError(`The engine's second thread did not start: ${(error as Error).message}`)
    }
    worker.unref()
    return new SecondThread(runtime, exchange)
  }

  /** Runs one graph in this thread and the other in the second, and blocks until both are done. @throws OrtError where one fails */
  runBoth(here: GraphRun, there: GraphRun): void {
    const { run } = this.#exchange
    run[0] = there.session.address
    run[1] = there.binding.address
    this.#tell(STATE.running)
    try {
      here.session.run(here.binding)
    } finally {
      this.#waitUntilDone()
    }
  }

  close(): void {
    this.#tell(STATE.closed)
  }

  #waitUntilDone(): void {
    const { state, run } = this.#exchange
    while (Atomics.load(state, 0) === STATE.running) Atomics.wait(state, 0, STATE.running)
    if (Atomics.load(state, 0) === STATE.failed) throw new OrtError("The engine's second thread has failed.")
    this.#runtime.check(run[2])
  }

  #tell(state: number): void {
    Atomics.store(this.#exchange.state, 0, state)
    Atomics.notify(this.#exchange.state, 0)
  }
}
