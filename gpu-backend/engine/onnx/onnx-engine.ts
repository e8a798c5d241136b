// The onnx engine's half in the server's thread: text to tokens, requests to sequences, tokens back to text.
// Knows the tokenizer and the disk tier; batching, the graph and the other tiers are the engine's thread's.
// Invariant: nothing is sent to the thread beyond the queue's bound, and what cannot be answered is refused before that.
import { randomInt } from 'node:crypto'
import { BackendError } from '../../errors.ts'
import type { Grammars } from '../../grammar/grammar.ts'
import type { Tokenizer } from '../../model/tokenizer.ts'
import {
  type BackendInfo,
  choicesOf,
  type EmbedRequest,
  type EmbedResponse,
  type GenerateRequest,
  type ResidencyEntry,
  SamplingParams,
} from '../../protocol.ts'
import type { DiskTier } from '../../residency/disk-tier.ts'
import { choiceSeed } from '../../sampling/choice-seed.ts'
import type { SequenceRequest } from '../../scheduler/sequence.ts'
import { answerEvents } from '../answer-events.ts'
import { checkCapacity } from '../capacity.ts'
import { ChoiceStream } from '../choice-stream.ts'
import type { Engine, EngineEvent, EngineOptions, EngineStats, RequestContext } from '../engine.ts'
import { Preparation } from '../preparation.ts'
import { Prompts } from '../prompts.ts'
import type { EngineThread } from './engine-thread.ts'

/** What an engine is put together from, started. */
export interface OnnxEngineParts {
  readonly info: BackendInfo
  readonly thread: EngineThread
  readonly tokenizer: Tokenizer
  readonly disk: DiskTier
  readonly grammars: Grammars
  readonly maxQueue: EngineOptions['maxQueue']
}

const EMBEDDING_SAMPLING = SamplingParams.parse({})

export class OnnxEngine implements Engine {
  readonly info: BackendInfo
  readonly #thread: EngineThread
  readonly #tokenizer: Tokenizer
  readonly #prompts: Prompts
  readonly #disk: DiskTier
  readonly #grammars: Grammars
  readonly #maxSequences: number
  readonly #preparation = new Preparation()

  constructor({ info, thread, tokenizer, disk, grammars, maxQueue }: OnnxEngineParts) {
    this.info = info
    this.#thread = thread
    this.#tokenizer = tokenizer
    this.#disk = disk
    this.#grammars = grammars
    this.#maxSequences = info.max_batch + maxQueue
    this.#prompts = new Prompts(tokenizer, info.context_tokens)
  }

  async *generate(request: GenerateRequest, context: RequestContext): AsyncGenerator<EngineEvent> {
    // Before any work.
    const count = choicesOf(request)
    this.#checkCapacity(context.tenant, count)
    const prepare = () => this.#sequences(request, context)
    const { sequences, tools, promptTokens } = await this.#preparation.run(context.tenant, count, prepare)
    const choices = sequences.map(({ id, sampling, endTokenIds, promptTokens: tokens }, index) => {
      const options = { toolCalls: tools?.reader(), prompt: request.prompt === undefined ? undefined : tokens }
      return [id, new ChoiceStream(index, this.#tokenizer, sampling, endTokenIds, options)] as const
    })
    const messages = this.#run(sequences, request.delta, context.signal)
    const answer = answerEvents(messages, new Map(choices), promptTokens, (id) => this.#thread.stop(id))
    for await (const event of answer) {
      // A request that was aborted ends without a word.
      if (event.event === 'done' && context.signal.aborted) return
      yield event
    }
  }

  async embed(request: EmbedRequest, context: RequestContext): Promise<EmbedResponse> {
    const { delta, input } = request
    const deadlineMs = deadlineOf(request)
    this.#checkCapacity(context.tenant, input.length)
    const sequences = await this.#preparation.run(context.tenant, input.length, async () => {
      if (delta !== null) await this.#disk.use(delta)
      const inputs = await this.#prompts.encodeInputs(input, context.tenant)
      return inputs.map((promptTokens) => this.#embedding(promptTokens, delta, context, deadlineMs))
    })
    const embeddings = new Map<number, number[]>()
    for await (const [id, message] of this.#run(sequences, delta, context.signal)) {
      if (message.type === 'embedded') embeddings.set(id, Array.from(message.embedding))
      else if (message.type === 'ended') {
        // Half of the embeddings are of no use to anybody: the others are cancelled.
        throw new BackendError(
          'deadline_exceeded',
          `The deadline of ${request.deadline_ms} ms passed before all ${input.length} inputs were embedded: send fewer or shorter ones, or allow more time.`,
        )
      }
    }
    return {
      embeddings: sequences.map(({ id }) => embeddings.get(id) ?? []),
      prompt_tokens: sequences.reduce((sum, { promptTokens }) => sum + promptTokens.length, 0),
    }
  }

  async admit(digest: string, body: AsyncIterable<Uint8Array>, maxBytes: number): Promise<void> {
    await this.#disk.admit(digest, body, Math.min(maxBytes, this.info.max_delta_bytes))
  }

  async evict(digest: string): Promise<void> {
    this.#disk.remove(digest)
    await this.#thread.evict(digest)
  }

  has(digest: string): boolean {
    return this.#disk.has(digest)
  }

  async residency(): Promise<ResidencyEntry[]> {
    const report = await this.#thread.report()
    const host = new Set(report.hostDigests)
    const device = new Set(report.deviceDigests)
    const digests = new Set([...this.#disk.digests(), ...host])
    return Array.from(digests, (digest) => {
      const file = this.#disk.tryGet(digest)
      return {
        digest,
        tier: device.has(digest) ? 'device' : host.has(digest) ? 'host' : 'disk',
        bytes: file?.bytes,
        last_used_ms: file?.lastUsedMs,
      }
    })
  }

  async stats(): Promise<EngineStats> {
    const report = await this.#thread.report()
    return {
      waiting: report.waiting,
      running: report.running,
      stalled: report.stalled,
      kvUsage: report.kvUsage,
      batchRows: this.info.max_batch,
      ...report.counts,
      hostDeltas: report.cache.entries,
      hostDeltaBytes: report.cache.bytes,
      deltaHits: report.cache.hits,
      deltaLoads: report.cache.loads,
      deltaEvictions: report.cache.evictions,
      diskDeltas: this.#disk.count,
    }
  }

  checkAlive(): void {
    this.#thread.checkAlive()
  }

  async ready(): Promise<void> {
    await this.#thread.report()
  }

  async metrics(): Promise<string> {
    return ''
  }

  async close(): Promise<void> {
    await this.#disk.close()
    await this.#prompts.close()
    await this.#thread.close()
  }

  async #sequences(request: GenerateRequest, context: RequestContext) {
    const deadlineMs = deadlineOf(request)
    this.#grammars.check(request.sampling.response_format)
    const delta = request.delta === null ? undefined : await this.#disk.use(request.delta)
    const tools = this.#prompts.toolUse(request, delta?.chatTemplate, (format) => this.#grammars.check(format))
    const sampling = tools?.sampling ?? request.sampling
    const prompts = await this.#prompts.encode(request, context.tenant, delta?.chatTemplate, tools)
    const sequences = prompts.flatMap((promptTokens): SequenceRequest[] => {
      const maxTokens = this.#prompts.maxTokens(promptTokens.length, sampling.max_tokens, context.maxTokens)
      const seed = sampling.seed ?? randomInt(2 ** 47)
      return Array.from({ length: request.n }, (_, choice) => ({
        id: this.#thread.nextId(),
        tenant: context.tenant,
        digest: request.delta,
        promptTokens,
        sampling,
        seed: choiceSeed(seed, choice),
        endTokenIds: [...this.#tokenizer.eosTokenIds, ...sampling.stop_token_ids],
        maxTokens,
        deadlineMs,
      }))
    })
    return { sequences, tools, promptTokens: prompts.map(({ length }) => length) }
  }

  #embedding(
    promptTokens: Int32Array,
    digest: string | null,
    context: RequestContext,
    deadlineMs: number | undefined,
  ): SequenceRequest {
    return {
      id: this.#thread.nextId(),
      tenant: context.tenant,
      digest,
      promptTokens,
      sampling: EMBEDDING_SAMPLING,
      seed: 0,
      endTokenIds: [],
      maxTokens: 0,
      deadlineMs,
    }
  }

  /** What comes back for sequences that all run with `digest`. @throws BackendError as `EngineThread.run` */
  async *#run(sequences: readonly SequenceRequest[], digest: string | null, signal: AbortSignal) {
    try {
      yield* this.#thread.run(sequences, signal)
    } catch (error) {
      if (!(error instanceof BackendError) || error.code !== 'adapter_missing' || digest === null) throw error
      // What cannot be read is as good as not there: the edge sends it again.
      this.#disk.discard(digest)
      throw new BackendError(error.code, error.message, { digest })
    }
  }

  /** @throws BackendError where so many sequences more are too many now (`overloaded`) or always (`bad_request`) */
  #checkCapacity(tenant: string, count: number): void {
    this.#thread.checkAlive()
    const open = {
      all: this.#thread.sequences() + this.#preparation.places(),
      own: this.#thread.sequences(tenant) + this.#preparation.places(tenant),
    }
    checkCapacity(open, count, { sequences: this.#maxSequences, batch: this.info.max_batch })
  }
}

/** Milliseconds since the epoch, for a request that has just come. */
function deadlineOf({ deadline_ms: afterMs }: Pick<GenerateRequest, 'deadline_ms'>): number | undefined {
  return afterMs === undefined ? undefined : Date.now() + afterMs
}
