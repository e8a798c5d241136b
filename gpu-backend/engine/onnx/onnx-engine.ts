// The onnx engine's half in the server's thread: text to tokens, requests to sequences, tokens back to text.
// Knows the tokenizer, the disk tier and the worker; batching and the graph are the worker's.
// Invariant: every request that was sent to the worker is answered, ended or cancelled, even when the worker dies.
import { randomInt } from 'node:crypto'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { BackendError, StartupError } from '../../errors.ts'
import { AdapterTemplates } from '../../model/adapter-templates.ts'
import { graphPath, identify } from '../../model/built-model.ts'
import { projectionGroups, type WeightFormat } from '../../model/graph.ts'
import { openModelSource } from '../../model/open-model.ts'
import { tokenBytes } from '../../model/token-bytes.ts'
import { Tokenizer } from '../../model/tokenizer.ts'
import {
  type BackendInfo,
  type ChatMessage,
  type EmbedResponse,
  type GenerateRequest,
  SamplingParams,
} from '../../protocol.ts'
import { DiskTier } from '../../residency/disk-tier.ts'
import { Grammars } from '../../sampling/grammar.ts'
import { buildTokenTrie } from '../../sampling/token-trie.ts'
import type { SequenceRequest } from '../../scheduler/sequence.ts'
import type { Engine, EngineEvent, EngineStats, RequestContext, ResidencyEntry } from '../engine.ts'
import { ChoiceStream } from './choice-stream.ts'
import { planMemory } from './memory.ts'
import type { FromWorker, ToWorker, WorkerOptions, WorkerReport } from './messages.ts'
import type { Device } from './ort.ts'
import { prefillChunkTokens } from './prefill-chunk.ts'
import { tokensLeft } from './tokens-left.ts'

export interface OnnxEngineOptions {
  /** A Hugging Face directory or a GGUF file. */
  readonly modelPath: string
  /** The base model's name for clients. */
  readonly modelName: string
  readonly dataDir: string
  readonly weights: WeightFormat
  readonly device: Device
  readonly threads: number
  readonly memoryBytes: number
  readonly maxBatch: number
  /** undefined: as much as the model allows, up to 4096. */
  readonly contextTokens: number | undefined
  readonly diskBytes: number
  readonly maxDeltaBytes: number
  /** Sequences that may wait; beyond it requests are refused. */
  readonly maxQueue: number
}

const DEFAULT_CONTEXT_TOKENS = 4096
const EMBEDDING_SAMPLING = SamplingParams.parse({})

/** Where the worker's messages for one sequence go. */
interface Listener {
  onMessage(message: SequenceMessage): void
  onFailure(error: BackendError): void
}

type StepMessage = Extract<FromWorker, { type: 'step' }>
type SequenceMessage =
  | { readonly type: 'started'; readonly tier: Extract<FromWorker, { type: 'started' }>['tier'] }
  | { readonly type: 'token'; readonly token: StepMessage['tokens'][number] }
  | { readonly type: 'ended'; readonly end: StepMessage['ended'][number] }
  | { readonly type: 'embedded'; readonly embedding: Float32Array }

export class OnnxEngine implements Engine {
  readonly info: BackendInfo
  readonly #worker: Worker
  readonly #tokenizer: Tokenizer
  readonly #templates = new AdapterTemplates()
  readonly #disk: DiskTier
  readonly #grammars: Grammars
  readonly #maxSequences: number
  readonly #listeners = new Map<number, Listener>()
  readonly #calls = new Map<number, PromiseWithResolvers<FromWorker>>()
  readonly #exited: Promise<void>
  #nextId = 1
  #failure: BackendError | undefined

  private constructor(
    worker: Worker,
    tokenizer: Tokenizer,
    disk: DiskTier,
    grammars: Grammars,
    info: BackendInfo,
    maxQueue: number,
  ) {
    this.#worker = worker
    this.#tokenizer = tokenizer
    this.#disk = disk
    this.#grammars = grammars
    this.info = info
    this.#maxSequences = info.max_batch + maxQueue
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
   * Loads the base model and starts the engine's thread.
   * @throws StartupError when the model, the device or the options cannot be used
   */
  static async start(options: OnnxEngineOptions, progress: (line: string) => void): Promise<OnnxEngine> {
    const cacheDir = join(options.dataDir, 'models')
    const source = await openModelSource(options.modelPath)
    const base = await identify(source, options.modelName, cacheDir)
    const { config } = source
    const contextTokens = Math.min(options.contextTokens ?? DEFAULT_CONTEXT_TOKENS, config.maxPositions)
    const plan = planMemory(config, options.memoryBytes, options.maxBatch, contextTokens)
    const tokenizer = new Tokenizer(source.tokenizer, source.config.vocabSize)
    const vocabulary = tokenBytes(source.tokenizer.tokenizer)
    const tokenTrie = vocabulary && buildTokenTrie(vocabulary)
    progress(`building the ${options.weights} graph of ${base.name}`)
    const path = await graphPath(
      source,
      base.fingerprint,
      options.weights,
      contextTokens,
      options.device === 'webgpu' ? 'plain' : 'fused',
      cacheDir,
    )
    const deltaDir = join(options.dataDir, 'deltas', base.fingerprint.slice('sha256:'.length, 'sha256:'.length + 16))
    const disk = new DiskTier(deltaDir, base, projectionGroups(config), options.diskBytes)
    const workerData: WorkerOptions = {
      graphPath: path,
      config,
      base,
      device: options.device,
      threads: options.threads,
      maxRows: plan.maxRows,
      contextTokens,
      prefillChunkTokens: prefillChunkTokens(config, options.device),
      hostDeltaBytes: plan.hostDeltaBytes,
      prefixCacheBytes: plan.prefixCacheBytes,
      deltaDir,
      tokenTrie,
    }
    progress(
      `${plan.maxRows} rows of ${contextTokens} tokens (${megabytes(plan.kvBytes)} KV cache, ${megabytes(plan.stackBytes)} for the batch's deltas, ` +
        `${megabytes(plan.hostDeltaBytes)} for deltas in memory, ${megabytes(plan.prefixCacheBytes)} for prefixes)`,
    )
    const worker = new Worker(new URL('./worker.ts', import.meta.url), { workerData })
    await ready(worker)
    const info: BackendInfo = {
      base,
      engine: 'onnx',
      device: options.device,
      weights: options.weights,
      context_tokens: contextTokens,
      max_batch: plan.maxRows,
      max_delta_bytes: options.maxDeltaBytes,
    }
    return new OnnxEngine(worker, tokenizer, disk, new Grammars(tokenTrie), info, options.maxQueue)
  }

  async *generate(request: GenerateRequest, context: RequestContext): AsyncGenerator<EngineEvent> {
    const { sampling } = request
    this.#grammars.check(sampling.response_format)
    const delta = request.delta === null ? undefined : await this.#disk.use(request.delta)
    const promptTokens = request.messages
      ? await this.#encodeChat(request.messages, delta?.chatTemplate)
      : this.#tokenizer.encode(request.prompt ?? '')
    const maxTokens = this.#maxTokens(promptTokens.length, sampling.max_tokens, context.maxTokens)
    // To a sequence, no tokens at all would mean an embedding.
    if (maxTokens < 1)
      throw new BackendError('forbidden', 'The capability token allows no tokens: ask through the edge.')
    this.#checkCapacity(request.n)
    const seed = sampling.seed ?? randomInt(2 ** 47)
    const sequences = Array.from(
      { length: request.n },
      (_, index): SequenceRequest => ({
        id: this.#nextId++,
        tenant: context.tenant,
        digest: request.delta,
        promptTokens,
        sampling,
        seed: Math.abs(seed) + index,
        stopTokenIds: [...this.#tokenizer.eosTokenIds, ...sampling.stop_token_ids],
        maxTokens,
        deadlineMs: request.deadline_ms === undefined ? undefined : Date.now() + request.deadline_ms,
      }),
    )
    const inbox = this.#send(sequences, context.signal)
    const choices = new Map(
      sequences.map(({ id, stopTokenIds }, index) => [
        id,
        new ChoiceStream(index, this.#tokenizer, sampling, stopTokenIds),
      ]),
    )
    let started = false
    let [completionTokens, cachedTokens, rows, deltas] = [0, 0, 0, 0]
    for await (const [id, message] of inbox) {
      const choice = choices.get(id)!
      switch (message.type) {
        case 'started':
          if (!started) yield { event: 'started', promptTokens: promptTokens.length, tier: message.tier }
          started = true
          break
        case 'token': {
          if (choice.isStopped) break
          completionTokens++
          const event = choice.push(message.token)
          if (event) yield event
          if (choice.isStopped) this.#post({ type: 'stop', id })
          break
        }
        case 'ended': {
          const rest = choice.end()
          if (rest) yield rest
          cachedTokens = Math.max(cachedTokens, message.end.cachedTokens)
          rows = Math.max(rows, message.end.batchRows)
          deltas = Math.max(deltas, message.end.batchDeltas)
          if (!started) yield { event: 'started', promptTokens: promptTokens.length, tier: null }
          started = true
          yield { event: 'finished', index: choice.index, reason: message.end.reason }
        }
      }
    }
    if (context.signal.aborted) return
    const usage = {
      prompt_tokens: promptTokens.length,
      cached_tokens: cachedTokens,
      completion_tokens: completionTokens,
    }
    yield { event: 'done', usage, batch: { rows, deltas } }
  }

  async embed(delta: string | null, input: readonly string[], context: RequestContext): Promise<EmbedResponse> {
    if (delta !== null) await this.#disk.use(delta)
    const prompts = input.map((text) => this.#tokenizer.encode(text))
    for (const tokens of prompts) this.#maxTokens(tokens.length, undefined, context.maxTokens)
    this.#checkCapacity(prompts.length)
    const sequences = prompts.map(
      (promptTokens): SequenceRequest => ({
        id: this.#nextId++,
        tenant: context.tenant,
        digest: delta,
        promptTokens,
        sampling: EMBEDDING_SAMPLING,
        seed: 0,
        stopTokenIds: [],
        maxTokens: 0,
        deadlineMs: undefined,
      }),
    )
    const embeddings = new Map<number, number[]>()
    for await (const [id, message] of this.#send(sequences, context.signal)) {
      if (message.type === 'embedded') embeddings.set(id, Array.from(message.embedding))
    }
    return {
      embeddings: sequences.map(({ id }) => embeddings.get(id) ?? []),
      prompt_tokens: prompts.reduce((sum, tokens) => sum + tokens.length, 0),
    }
  }

  async admit(digest: string, body: AsyncIterable<Uint8Array>, maxBytes: number): Promise<void> {
    await this.#disk.admit(digest, body, Math.min(maxBytes, this.info.max_delta_bytes))
  }

  async evict(digest: string): Promise<void> {
    this.#disk.remove(digest)
    await this.#call((call) => ({ type: 'evict', digest, call }))
  }

  async residency(): Promise<ResidencyEntry[]> {
    const report = await this.#report()
    const host = new Set(report.hostDigests)
    const device = new Set(report.deviceDigests)
    const digests = new Set([...this.#disk.digests(), ...host])
    return Array.from(digests, (digest) => ({
      digest,
      tier: device.has(digest) ? 'device' : host.has(digest) ? 'host' : 'disk',
    }))
  }

  async stats(): Promise<EngineStats> {
    const report = await this.#report()
    return {
      waiting: report.waiting,
      running: report.running,
      batchRows: this.info.max_batch,
      steps: report.steps,
      generatedTokens: report.generatedTokens,
      prefillTokens: report.prefillTokens,
      cachedPrefixTokens: report.cachedPrefixTokens,
      hostDeltas: report.cache.entries,
      hostDeltaBytes: report.cache.bytes,
      deltaHits: report.cache.hits,
      deltaLoads: report.cache.loads,
      deltaEvictions: report.cache.evictions,
      diskDeltas: this.#disk.count,
    }
  }

  async close(): Promise<void> {
    this.#templates.close()
    this.#post({ type: 'close' })
    await this.#exited
  }

  /** Token ids of a conversation as the adapter's own template, where it has one, or the model's makes it. */
  async #encodeChat(messages: readonly ChatMessage[], adapterTemplate: string | undefined): Promise<Int32Array> {
    if (adapterTemplate === undefined) return this.#tokenizer.encodeChat(messages)
    const text = await this.#templates.render(adapterTemplate, { messages, ...this.#tokenizer.specials })
    return this.#tokenizer.encodeRendered(text)
  }

  /** Tokens that may be generated after a prompt. @throws BackendError where the context does not hold it */
  #maxTokens(promptTokens: number, wanted: number | undefined, allowed: number): number {
    return Math.min(tokensLeft(this.info.context_tokens, promptTokens, wanted), allowed)
  }

  #checkCapacity(count: number): void {
    if (this.#failure) throw this.#failure
    if (this.#listeners.size + count > this.#maxSequences) {
      throw new BackendError(
        'overloaded',
        `${this.#listeners.size} sequences are running or waiting, which is the limit: try again later.`,
      )
    }
  }

  /** Sends the sequences and yields what comes back for each, until all have ended or the signal aborts. */
  async *#send(sequences: readonly SequenceRequest[], signal: AbortSignal): AsyncGenerator<[number, SequenceMessage]> {
    const open = new Set(sequences.map(({ id }) => id))
    const inbox: [number, SequenceMessage][] = []
    let failure: BackendError | undefined
    let wake = () => {}
    const onAbort = () => wake()
    for (const { id } of sequences) {
      this.#listeners.set(id, {
        onMessage: (message) => {
          inbox.push([id, message])
          wake()
        },
        onFailure: (error) => {
          failure ??= error
          wake()
        },
      })
    }
    signal.addEventListener('abort', onAbort)
    try {
      this.#post({ type: 'add', sequences })
      while (open.size > 0 && !signal.aborted) {
        if (failure) {
          const { digest } = sequences[0]!
          if (failure.code !== 'adapter_missing' || digest === null) throw failure
          // What cannot be read is as good as not there: the edge sends it again.
          this.#disk.remove(digest)
          throw new BackendError(failure.code, failure.message, digest)
        }
        for (const item of inbox.splice(0)) {
          const [id, message] = item
          if (message.type === 'ended' || message.type === 'embedded') {
            open.delete(id)
            this.#listeners.delete(id)
          }
          yield item
        }
        if (open.size > 0 && inbox.length === 0 && !failure && !signal.aborted) {
          await new Promise<void>((resolve) => {
            wake = resolve
          })
        }
      }
    } finally {
      signal.removeEventListener('abort', onAbort)
      for (const id of open) this.#listeners.delete(id)
      if (open.size > 0) this.#post({ type: 'cancel', ids: [...open] })
    }
  }

  #receive(message: FromWorker): void {
    switch (message.type) {
      case 'step':
        for (const token of message.tokens) this.#listeners.get(token.id)?.onMessage({ type: 'token', token })
        for (const end of message.ended) this.#listeners.get(end.id)?.onMessage({ type: 'ended', end })
        return
      case 'started':
      case 'embedded':
        this.#listeners.get(message.id)?.onMessage(message)
        return
      case 'failed':
        this.#listeners.get(message.id)?.onFailure(new BackendError(message.code, message.message))
        return
      case 'evicted':
      case 'report':
        this.#calls.get(message.call)?.resolve(message)
        this.#calls.delete(message.call)
        return
      case 'failed-to-start':
        // It had started: its loop has failed, and the thread would sit there for ever.
        this.#fail(message.message)
        void this.#worker.terminate()
    }
  }

  #fail(reason: string): void {
    this.#failure ??= new BackendError('unavailable', `This backend cannot generate: ${reason}.`)
    for (const listener of this.#listeners.values()) listener.onFailure(this.#failure)
    for (const call of this.#calls.values()) call.reject(this.#failure)
    this.#calls.clear()
  }

  async #report(): Promise<WorkerReport> {
    const message = await this.#call((call) => ({ type: 'report', call }))
    if (message.type !== 'report') throw new Error(`Expected a report, got "${message.type}".`)
    return message.report
  }

  #call(make: (call: number) => ToWorker): Promise<FromWorker> {
    if (this.#failure) return Promise.reject(this.#failure)
    const call = this.#nextId++
    const answer = Promise.withResolvers<FromWorker>()
    this.#calls.set(call, answer)
    this.#post(make(call))
    return answer.promise
  }

  #post(message: ToWorker): void {
    this.#worker.postMessage(message)
  }
}

function ready(worker: Worker): Promise<void> {
  return new Promise((resolve, reject) => {
    worker.once('message', (message: FromWorker) => {
      if (message.type === 'ready') resolve()
      else reject(new StartupError(message.type === 'failed-to-start' ? message.message : 'The engine did not start.'))
    })
    worker.once('error', (error) => reject(new StartupError(`The engine did not start: ${error.message}`)))
  })
}

function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`
}
