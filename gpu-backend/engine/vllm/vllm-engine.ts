// The vllm engine: requests to sequences on one or several vLLM servers, tokens back to text.
// Knows no graph and no batch: vLLM has them. Invariant: text, chat templates, end and stop are made here as in the onnx
// engine, from token ids, so that nothing above the seam can tell which one answered.
import { join, resolve } from 'node:path'
import type { BaseModel } from '../../../adapters/base-model.ts'
import { BackendError } from '../../errors.ts'
import { folderOf, identify } from '../../model/identify.ts'
import { contextOf } from '../../model/model-config.ts'
import { openModelSource } from '../../model/open-model.ts'
import { Tokenizer } from '../../model/tokenizer.ts'
import {
  type BackendInfo,
  choicesOf,
  type EmbedRequest,
  type EmbedResponse,
  type GenerateRequest,
  type ResidencyEntry,
} from '../../protocol.ts'
import { choiceSeed } from '../../sampling/choice-seed.ts'
import { answerEvents } from '../answer-events.ts'
import { checkCapacity } from '../capacity.ts'
import { ChoiceStream } from '../choice-stream.ts'
import type { Engine, EngineEvent, EngineOptions, EngineStats, RequestContext } from '../engine.ts'
import { Inbox } from '../inbox.ts'
import { Preparation } from '../preparation.ts'
import { Prompts } from '../prompts.ts'
import { Dispatcher, noServer } from './dispatcher.ts'
import { choosePlace } from './placement.ts'
import { type PreparedRequest, type PreparedWith, prepareRequest } from './prepared-request.ts'
import type { Replica } from './replica.ts'
import { type SequenceOptions, SequenceRun } from './sequence-run.ts'
import { Servers, type ServersOptions } from './servers.ts'
import { SharedAdapters } from './shared-adapters.ts'
import { VllmRefusal } from './vllm-client.ts'

/** What is found out here of the model, and who is told of the servers. */
type OwnToEngine = 'base' | 'tokenizer' | 'contextTokens' | 'sharedDir' | 'findAdapter' | 'onChange'

export interface VllmEngineOptions extends EngineOptions, Omit<ServersOptions, OwnToEngine> {
  /** undefined: one in `dataDir`. */
  readonly sharedDir: string | undefined
}

export class VllmEngine implements Engine {
  readonly info: BackendInfo
  readonly #tokenizer: Tokenizer
  readonly #prompts: Prompts
  readonly #preparation = new Preparation()
  readonly #preparedWith: PreparedWith
  readonly #adapters: SharedAdapters
  readonly #servers: Servers
  readonly #dispatcher: Dispatcher
  readonly #maxSequences: number
  /** Those that wait, and those that vLLM has not let go of. */
  readonly #runs = new Set<SequenceRun>()
  readonly #counts = { generatedTokens: 0, prefillTokens: 0 }
  #lastId = 0
  #isClosed = false

  private constructor(
    info: BackendInfo,
    tokenizer: Tokenizer,
    adapters: SharedAdapters,
    servers: Servers,
    dispatcher: Dispatcher,
    maxQueue: number,
  ) {
    this.info = info
    this.#tokenizer = tokenizer
    this.#prompts = new Prompts(tokenizer, info.context_tokens)
    this.#preparedWith = { adapters, tokenizer, prompts: this.#prompts, checkOpen: () => this.#checkOpen() }
    this.#adapters = adapters
    this.#servers = servers
    this.#dispatcher = dispatcher
    this.#maxSequences = info.max_batch + maxQueue
  }

  /**
   * Starts or finds the servers; resolves when the first one is ready.
   * @throws StartupError when the model, a server or the options cannot be used
   */
  static async start(options: VllmEngineOptions, progress: (line: string) => void): Promise<VllmEngine> {
    const source = await openModelSource(options.modelPath)
    const base = await identify(source, options.modelName, join(options.dataDir, 'models'))
    const tokenizer = new Tokenizer(source.tokenizer, source.config.vocabSize)
    const contextTokens = contextOf(source.config, options.contextTokens)
    const sharedDir = sharedDirectory(options, base)
    const servers = new Servers({
      ...options,
      base,
      tokenizer,
      contextTokens,
      sharedDir,
      findAdapter: (digest) => adapters.tryFind(digest),
      onChange: () => dispatcher.serversChanged(),
    })
    const adapters = new SharedAdapters(sharedDir, base, options.diskBytes, (adapter) => servers.unload(adapter))
    const dispatcher = new Dispatcher(servers.replicas, { rows: options.maxBatch, slots: options.maxLoras })
    await servers.start(progress)
    const info: BackendInfo = {
      base,
      engine: 'vllm',
      device: options.device,
      weights: options.dtype ?? 'as served',
      context_tokens: contextTokens,
      max_batch: options.maxBatch * servers.replicas.length,
      max_delta_bytes: options.maxDeltaBytes,
      max_rank: options.maxRank,
      fixed_modules: [...servers.fixedModules],
    }
    return new VllmEngine(info, tokenizer, adapters, servers, dispatcher, options.maxQueue)
  }

  async *generate(request: GenerateRequest, context: RequestContext): AsyncGenerator<EngineEvent> {
    // Before any work.
    const count = choicesOf(request)
    this.#checkCapacity(context.tenant, count)
    const prepared = await this.#preparation.run(context.tenant, count, () =>
      prepareRequest(request, context, this.#preparedWith),
    )
    const { prompts, sampling, tools, endTokenIds } = prepared
    const promptTokens = prompts.map((prompt) => prompt.promptTokens.length)
    const ids = Array.from({ length: count }, () => ++this.#lastId)
    const inbox = new Inbox(ids)
    const runs = ids.map((id, index) => this.#run(id, index, prepared, request, context, inbox))
    const choices = ids.map((id, index) => {
      const prompt = request.prompt === undefined ? undefined : prompts[Math.floor(index / request.n)]!.promptTokens
      const options = { toolCalls: tools?.reader(), prompt }
      return [id, new ChoiceStream(index, this.#tokenizer, sampling, endTokenIds, options)] as const
    })
    const stop = (id: number) => runs.find((run) => run.id === id)?.end('stop')
    try {
      for (const run of context.signal.aborted ? [] : runs) this.#dispatcher.add(run)
      for await (const event of answerEvents(inbox.read(context.signal), new Map(choices), promptTokens, stop)) {
        // A request that was aborted ends without a word.
        if (event.event === 'done' && context.signal.aborted) return
        yield event
      }
    } finally {
      for (const run of runs) run.cancel()
    }
  }

  async embed({ delta, input }: EmbedRequest, _context: RequestContext): Promise<EmbedResponse> {
    if (delta !== null) this.#adapters.hold(delta, 1).release(1)
    throw new BackendError(
      'bad_request',
      `A vLLM server that generates makes no embeddings, so this backend refuses the ${input.length} asked for: use a backend with --engine onnx.`,
    )
  }

  async admit(digest: string, body: AsyncIterable<Uint8Array>, maxBytes: number): Promise<void> {
    const limits = { maxRank: this.info.max_rank, fixedModules: this.info.fixed_modules }
    const bytes = Math.min(maxBytes, this.info.max_delta_bytes)
    const adapter = await this.#adapters.admit(digest, body, bytes, limits)
    // Loaded at once where it will be needed: what vLLM refuses is refused now and not when a customer calls.
    const place = choosePlace(digest, this.#servers.replicas, {
      rows: Number.POSITIVE_INFINITY,
      slots: Number.POSITIVE_INFINITY,
    })
    try {
      await place?.adapters.ensure(adapter)
    } catch (error) {
      // A server that was lost meanwhile says nothing of the delta.
      if (!(error instanceof VllmRefusal)) return
      this.#adapters.forgetSoon(digest)
      throw new BackendError('invalid_delta', `vLLM cannot apply the delta: ${error.message}.`)
    }
  }

  async evict(digest: string): Promise<void> {
    await this.#adapters.forget(digest)
  }

  has(digest: string): boolean {
    return this.#adapters.tryFind(digest) !== undefined
  }

  async residency(): Promise<ResidencyEntry[]> {
    const atWork = new Set(this.#servers.replicas.flatMap((replica) => [...replica.atWork]))
    const loaded = new Set(this.#servers.replicas.flatMap((replica) => replica.adapters.digests()))
    return Array.from(new Set([...this.#adapters.digests(), ...loaded]), (digest) => ({
      digest,
      tier: atWork.has(digest) ? 'device' : loaded.has(digest) ? 'host' : 'disk',
    }))
  }

  async stats(): Promise<EngineStats> {
    this.#checkOpen()
    const sum = (figure: (replica: Replica) => number) =>
      this.#servers.replicas.reduce((total, replica) => total + figure(replica), 0)
    return {
      waiting: this.#dispatcher.waiting,
      running: this.#dispatcher.running,
      stalled: 0,
      kvUsage: 0,
      batchRows: this.info.max_batch,
      // vLLM counts its own, under its own names.
      steps: 0,
      draftTokens: 0,
      acceptedDraftTokens: 0,
      ...this.#counts,
      hostDeltas: sum(({ adapters }) => adapters.digests().length),
      hostDeltaBytes: sum(({ adapters }) => adapters.bytes),
      deltaHits: sum(({ adapters }) => adapters.hits),
      deltaLoads: sum(({ adapters }) => adapters.loads),
      deltaEvictions: sum(({ adapters }) => adapters.evictions),
      diskDeltas: this.#adapters.count,
    }
  }

  /** A server that is lost is started again or comes back: that is no reason to end this process. */
  checkAlive(): void {
    this.#checkOpen()
  }

  async ready(): Promise<void> {
    this.#checkOpen()
    if (!this.#servers.areReady) throw noServer()
  }

  metrics(): Promise<string> {
    return this.#servers.metrics()
  }

  async close(): Promise<void> {
    this.#isClosed = true
    for (const run of this.#runs) run.fail(hasStopped())
    await this.#adapters.close()
    await this.#prompts.close()
    await this.#servers.close()
  }

  #run(
    id: number,
    index: number,
    prepared: PreparedRequest,
    { n }: GenerateRequest,
    { requestId, tenant }: RequestContext,
    inbox: Inbox,
  ): SequenceRun {
    const { held, sampling, prompts, endTokenIds, deadlineMs } = prepared
    const prompt = prompts[Math.floor(index / n)]!
    const options: SequenceOptions = {
      ...prompt,
      adapter: held?.adapter,
      endTokenIds,
      deadlineMs,
      id,
      requestId,
      tenant,
      sampling,
      seed: sampling.seed === undefined ? undefined : choiceSeed(sampling.seed, index % n),
      onMessage: (message) => inbox.push(id, message),
      onFailure: (error) => inbox.fail(error),
      onUnreadable: (digest) => this.#adapters.forgetSoon(digest),
      onSettled: (run) => {
        this.#runs.delete(run)
        held?.release(1)
        this.#counts.generatedTokens += run.tokens
        if (run.tokens > 0) this.#counts.prefillTokens += prompt.promptTokens.length - run.cachedTokens
      },
    }
    const run = new SequenceRun(options, this.#dispatcher)
    this.#runs.add(run)
    return run
  }

  #checkCapacity(tenant: string, count: number): void {
    this.#checkOpen()
    const running = this.#runs.values().filter((run) => run.tenant === tenant)
    const open = {
      all: this.#dispatcher.waiting + this.#dispatcher.running + this.#preparation.places(),
      own: [...running].length + this.#preparation.places(tenant),
    }
    checkCapacity(open, count, { sequences: this.#maxSequences, batch: this.info.max_batch })
  }

  #checkOpen(): void {
    if (this.#isClosed) throw hasStopped()
  }
}

function hasStopped(): BackendError {
  return new BackendError('unavailable', 'This backend cannot generate: the engine has stopped.')
}

function sharedDirectory({ sharedDir, dataDir }: VllmEngineOptions, base: BaseModel): string {
  return resolve(sharedDir ?? join(dataDir, 'vllm'), folderOf(base.fingerprint))
}
