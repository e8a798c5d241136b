// The entry for pages: opens the base model in a worker of its own, so that the page stays responsive, and talks to it.
// Knows no model and no network. Invariant: every call ends, with an answer or an error, when the worker dies as well.
import { BrowserError } from './browser-error.ts'
import type {
  BrowserDevice,
  FromWorker,
  LoadedAdapter,
  LocalEvent,
  LocalRequest,
  OpenedModel,
  Progress,
  ToWorker,
} from './messages.ts'

export type { BrowserDevice, LoadedAdapter, LocalEvent, LocalRequest, OpenedModel, Progress }
export { BrowserError }

export interface BrowserModelOptions {
  /** The edge's URL, such as `location.origin`. */
  readonly edge: string
  /** A tenant's key with the scope `inference`; kept in memory only. */
  readonly apiKey: string
  /** Default: WebGPU where this browser has it, else WASM. */
  readonly device?: BrowserDevice
  readonly onProgress?: (progress: Progress) => void
  /** Closes the model when it aborts, whether it is open by then or still on its way. */
  readonly signal?: AbortSignal
}

/** Downloads the base model, unless it is on this machine already, and starts it. @throws BrowserError */
export async function openBrowserModel(options: BrowserModelOptions): Promise<LocalModel> {
  const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module', name: 'polylora' })
  const calls = new WorkerCalls(worker)
  options.signal?.addEventListener('abort', () => calls.close(), { once: true })
  if (options.signal?.aborted) calls.close()
  try {
    const { edge, apiKey, device } = options
    const opened = await calls.ask(
      (call) => ({ type: 'open', call, options: { edge, apiKey, device } }),
      options.onProgress,
    )
    return new LocalModel(calls, opened as OpenedModel)
  } catch (error) {
    calls.close()
    throw error
  }
}

/** A base model that runs on this machine. */
export class LocalModel {
  readonly #calls: WorkerCalls
  readonly #opened: OpenedModel

  constructor(calls: WorkerCalls, opened: OpenedModel) {
    this.#calls = calls
    this.#opened = opened
  }

  get device(): BrowserDevice {
    return this.#opened.device
  }

  get manifest(): OpenedModel['manifest'] {
    return this.#opened.manifest
  }

  /**
   * Downloads the version that `name` (`tenant/adapter`) points at, unless it is here already. Ends with the signal's reason
   * when that aborts.
   * @throws BrowserError `adapter_may_not_leave` where the operator does not allow it, or as the edge refuses
   */
  async load(name: string, onProgress?: (progress: Progress) => void, signal?: AbortSignal): Promise<LoadedAdapter> {
    return (await this.#calls.ask((call) => ({ type: 'load', call, name }), onProgress, signal)) as LoadedAdapter
  }

  /**
   * Generates an answer on this machine: no request leaves it. Ends early, without an event, when the signal aborts or
   * the loop over it is left.
   * @throws BrowserError `bad_request`, `context_length_exceeded`, ...
   */
  generate(request: LocalRequest, signal?: AbortSignal): AsyncGenerator<LocalEvent> {
    return this.#calls.stream((call) => ({ type: 'generate', call, request }), signal)
  }

  /** Frees the model's memory. What was downloaded stays. */
  close(): void {
    this.#calls.close()
  }
}

interface Listener {
  onMessage(message: Exclude<FromWorker, { type: 'failed' }>): void
  onFailure(error: BrowserError): void
}

/** Questions to the worker and its answers, told apart by number. */
class WorkerCalls {
  readonly #worker: Worker
  readonly #listeners = new Map<number, Listener>()
  #failure: BrowserError | undefined
  #nextCall = 1

  constructor(worker: Worker) {
    this.#worker = worker
    worker.addEventListener('message', ({ data }: MessageEvent<FromWorker>) => {
      const listener = this.#listeners.get(data.call)
      if (data.type === 'failed') listener?.onFailure(new BrowserError(data.code, data.message))
      else listener?.onMessage(data)
    })
    worker.addEventListener('error', (event) => {
      this.#fail(
        new BrowserError('internal', `The model's worker failed: ${event.message || 'it could not be loaded'}.`),
      )
    })
  }

  async ask(make: (call: number) => ToWorker, onProgress?: (progress: Progress) => void, signal?: AbortSignal) {
    signal?.throwIfAborted()
    const call = this.#nextCall++
    const answer = Promise.withResolvers<Extract<FromWorker, { type: 'ended' }>['value']>()
    this.#listen(call, {
      onMessage: (message) => {
        if (message.type === 'progress') onProgress?.(message.progress)
        if (message.type === 'ended') answer.resolve(message.value)
      },
      onFailure: answer.reject,
    })
    const onAbort = () => {
      this.#worker.postMessage({ type: 'abort', call } satisfies ToWorker)
      answer.reject(signal?.reason)
    }
    signal?.addEventListener('abort', onAbort)
    try {
      this.#worker.postMessage(make(call))
      return await answer.promise
    } finally {
      signal?.removeEventListener('abort', onAbort)
      this.#listeners.delete(call)
    }
  }

  async *stream(make: (call: number) => ToWorker, signal: AbortSignal | undefined): AsyncGenerator<LocalEvent> {
    const call = this.#nextCall++
    const inbox: LocalEvent[] = []
    let ended = false
    let failure: BrowserError | undefined
    let wake = () => {}
    const onAbort = () => wake()
    this.#listen(call, {
      onMessage: (message) => {
        if (message.type === 'event') inbox.push(message.event)
        if (message.type === 'ended') ended = true
        wake()
      },
      onFailure: (error) => {
        failure = error
        wake()
      },
    })
    signal?.addEventListener('abort', onAbort)
    try {
      this.#worker.postMessage(make(call))
      while (!signal?.aborted) {
        const event = inbox.shift()
        if (event) yield event
        else if (failure) throw failure
        else if (ended) return
        else {
          await new Promise<void>((resolve) => {
            wake = resolve
          })
        }
      }
    } finally {
      signal?.removeEventListener('abort', onAbort)
      this.#listeners.delete(call)
      if (!ended && !failure) this.#worker.postMessage({ type: 'abort', call } satisfies ToWorker)
    }
  }

  close(): void {
    this.#worker.terminate()
    this.#fail(new BrowserError('closed', 'The model was closed: open it again.'))
  }

  #listen(call: number, listener: Listener): void {
    if (this.#failure) throw this.#failure
    this.#listeners.set(call, listener)
  }

  #fail(error: BrowserError): void {
    this.#failure ??= error
    for (const listener of this.#listeners.values()) listener.onFailure(this.#failure)
  }
}
