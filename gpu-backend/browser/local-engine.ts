// Generates on this machine: text to tokens, tokens through the graph one after another, tokens to text, with the backend's
// own tokenizer, templates, sampler and stops. Knows neither the network nor the page.
// Invariant: the same request gives the same tokens whatever was generated before it.
import { decodeDelta } from '../../adapters/canonical.ts'
import { AdapterError } from '../../adapters/errors.ts'
import { ChoiceStream } from '../engine/choice-stream.ts'
import { prefillChunkTokens } from '../engine/onnx/prefill-chunk.ts'
import { tokensLeft } from '../engine/tokens-left.ts'
import { BackendError } from '../errors.ts'
import { Grammars } from '../grammar/grammar.ts'
import { buildTokenTrie } from '../grammar/token-trie.ts'
import { ChatTemplate } from '../model/chat-template.ts'
import type { TokenizerFiles } from '../model/model-source.ts'
import { templateInput } from '../model/template-input.ts'
import { tokenBytes } from '../model/token-bytes.ts'
import { kindRendered, type PromptKind, Tokenizer } from '../model/tokenizer.ts'
import { type ChatMessage, GenerateRequest } from '../protocol.ts'
import { AdapterCache } from '../residency/adapter-cache.ts'
import { type PackedDelta, packDelta, viewPacked } from '../residency/packed-delta.ts'
import { choiceSeed } from '../sampling/choice-seed.ts'
import { sample } from '../sampling/sampler.ts'
import { finishReason } from '../scheduler/sequence.ts'
import type { GraphSession } from './graph-session.ts'
import type { BrowserModel } from './manifest.ts'
import type { BrowserDevice, LocalEvent, LocalRequest } from './messages.ts'

/** Deltas kept unpacked in memory; others are read from the store again. */
const DELTA_MEMORY_BYTES = 256 * 2 ** 20
const MAX_SEED = 2 ** 47

export class LocalEngine {
  readonly #model: BrowserModel
  readonly #session: GraphSession
  readonly #tokenizer: Tokenizer
  readonly #grammars: Grammars
  readonly #chunkTokens: number
  readonly #deltas: AdapterCache
  /** Of the adapters that brought one. */
  readonly #templates = new Map<string, { readonly template: ChatTemplate; readonly kind: PromptKind }>()
  /** The prompt whose whole chunks are in the KV cache, and the delta that they were computed with. */
  #prompt: { readonly digest: string | null; readonly tokens: Int32Array } = { digest: null, tokens: new Int32Array() }
  /** Ends when the generation before has ended, however it did: there is one KV cache. */
  #previous: Promise<unknown> = Promise.resolve()

  /** `readDelta` gives the bytes of a canonical delta file that was loaded before. */
  constructor(
    model: BrowserModel,
    device: BrowserDevice,
    session: GraphSession,
    files: TokenizerFiles,
    readDelta: (digest: string) => Promise<Uint8Array>,
  ) {
    this.#model = model
    this.#session = session
    this.#tokenizer = new Tokenizer(files, model.base.vocab_size)
    const vocabulary = tokenBytes(files.tokenizer)
    this.#grammars = new Grammars(vocabulary && buildTokenTrie(vocabulary))
    this.#chunkTokens = prefillChunkTokens(session.dimensions, device === 'webgpu' ? 'webgpu' : 'cpu')
    const read = async (digest: string) => this.#unpack(digest, await readDelta(digest))
    this.#deltas = new AdapterCache(DELTA_MEMORY_BYTES, read, () => {})
  }

  /** Brings a delta into memory. @throws BackendError `invalid_delta` where it does not fit the base, or as `readDelta` */
  load(digest: string): Promise<void> {
    return this.#deltas.load(digest)
  }

  /**
   * Generates one answer. Ends early, without an event, when the signal aborts.
   * @throws BackendError `bad_request`, `context_length_exceeded`
   */
  async *generate(request: LocalRequest, signal: AbortSignal): AsyncGenerator<LocalEvent> {
    const turn = Promise.withResolvers<void>()
    const previous = this.#previous
    this.#previous = turn.promise
    const digest = request.adapter?.digest ?? null
    try {
      await previous
      if (digest !== null) await this.#deltas.load(digest)
      yield* this.#answer(parseRequest(request, digest), signal)
    } finally {
      turn.resolve()
    }
  }

  async *#answer(request: OnePrompt, signal: AbortSignal): AsyncGenerator<LocalEvent> {
    const { delta, messages, prompt, sampling } = request
    const startMs = performance.now()
    const tokens = messages ? this.#encodeChat(messages, request) : this.#tokenizer.encode(prompt ?? '')
    const maxTokens = tokensLeft(this.#model.context_tokens, tokens.length, sampling.max_tokens)
    const endTokenIds = [...this.#tokenizer.eosTokenIds, ...sampling.stop_token_ids]
    const seed = choiceSeed(sampling.seed ?? Math.floor(Math.random() * MAX_SEED), 0)
    const grammar = this.#grammars.matcher(sampling.response_format, endTokenIds)
    const choice = new ChoiceStream(0, this.#tokenizer, sampling, endTokenIds, {
      prompt: messages ? undefined : tokens,
    })
    yield { event: 'started', promptTokens: tokens.length }
    const cachedTokens = this.#begin(tokens, delta)
    let logits = await this.#prefill(tokens, cachedTokens, signal)
    const outputTokens: number[] = []
    let ttftMs: number | undefined
    let reason: ReturnType<typeof finishReason>
    while (logits) {
      const sampled = sample(logits, { sampling, seed, promptTokens: tokens, outputTokens, endTokenIds, grammar })
      grammar?.accept(sampled.token)
      outputTokens.push(sampled.token)
      ttftMs ??= performance.now() - startMs
      yield* textEvents(choice.push(sampled))
      reason = choice.isStopped ? 'stop' : finishReason({ outputTokens, endTokenIds, maxTokens })
      if (reason) break
      logits = await this.#run(Int32Array.of(sampled.token), tokens.length + outputTokens.length - 1, signal)
    }
    if (!reason) return
    yield* textEvents(choice.end())
    yield { event: 'finished', reason }
    const usage = { prompt_tokens: tokens.length, cached_tokens: cachedTokens, completion_tokens: outputTokens.length }
    yield { event: 'done', usage, ttftMs: ttftMs ?? 0, totalMs: performance.now() - startMs }
  }

  /**
   * Makes the session ready for `tokens` with `delta`, and returns how many of them are in the KV cache already: whole
   * chunks, so that the prompt is computed in the same pieces as it would be without them.
   */
  #begin(tokens: Int32Array, delta: string | null): number {
    const before = this.#prompt
    this.#prompt = { digest: delta, tokens: new Int32Array() }
    const cached = delta === before.digest ? this.#sharedChunks(before.tokens, tokens) : 0
    if (cached === 0) this.#session.restart()
    // Pinned for no longer than this: the session has its own copy, or holds on to it.
    const packed = delta === null ? null : this.#deltas.tryPin(delta)!
    this.#session.use(packed)
    if (delta !== null) this.#deltas.unpin(delta)
    return cached
  }

  /** Tokens at the start of both prompts, in whole chunks, the last token excepted: its logits are wanted. */
  #sharedChunks(before: Int32Array, tokens: Int32Array): number {
    const whole = before.length - (before.length % this.#chunkTokens)
    let shared = 0
    while (shared < Math.min(whole, tokens.length - 1) && before[shared] === tokens[shared]) shared++
    return shared - (shared % this.#chunkTokens)
  }

  /** Logits after the last token; undefined where the signal aborts. */
  async #prefill(tokens: Int32Array, from: number, signal: AbortSignal): Promise<Float32Array | undefined> {
    let logits: Float32Array | undefined
    for (let start = from; start < tokens.length; start += this.#chunkTokens) {
      const end = Math.min(start + this.#chunkTokens, tokens.length)
      logits = await this.#run(tokens.subarray(start, end), start, signal)
      if (!logits) return undefined
      this.#prompt = { digest: this.#prompt.digest, tokens: tokens.slice(0, end) }
    }
    return logits
  }

  async #run(tokens: Int32Array, past: number, signal: AbortSignal): Promise<Float32Array | undefined> {
    // Where the graph runs on this thread, an abort could not be heard otherwise.
    await nextTurn()
    return signal.aborted ? undefined : this.#session.run(tokens, past)
  }

  #encodeChat(messages: readonly ChatMessage[], { delta, ...extras }: OnePrompt): Int32Array {
    const own = delta === null ? undefined : this.#templates.get(delta)
    if (!own) return this.#tokenizer.encodeChat(messages, extras)
    try {
      const text = own.template.render(templateInput(messages, extras, this.#tokenizer.specials))
      return this.#tokenizer.encodeAs(text, own.kind)
    } catch (error) {
      throw new BackendError('bad_request', `The adapter's chat template refuses these messages: ${sentence(error)}`)
    }
  }

  #unpack(digest: string, bytes: Uint8Array): PackedDelta {
    const { base } = this.#model
    const { groups } = this.#session
    try {
      const delta = decodeDelta(bytes, base)
      const { chatTemplate } = delta.metadata
      if (chatTemplate !== undefined) {
        this.#templates.set(digest, { template: new ChatTemplate(chatTemplate), kind: kindRendered(chatTemplate) })
      }
      const { shape, values } = packDelta(digest, delta, groups, base)
      return viewPacked(digest, shape, groups, base, values)
    } catch (error) {
      if (error instanceof AdapterError) throw new BackendError('invalid_delta', error.message)
      throw error
    }
  }
}

type OnePrompt = GenerateRequest & Pick<LocalRequest, 'prompt'>

/** @throws BackendError naming the field that is wrong */
function parseRequest(request: LocalRequest, delta: string | null): OnePrompt {
  const { messages, prompt, chat_template_kwargs, sampling = {} } = request
  const parsed = GenerateRequest.safeParse({ delta, messages, prompt, chat_template_kwargs, sampling })
  if (parsed.success) return { ...parsed.data, prompt }
  const issue = parsed.error.issues[0]!
  throw new BackendError('bad_request', `${issue.path.join('.') || 'The request'}: ${issue.message}.`)
}

/** Of answers to requests without tools, which there are none of here. */
function textEvents(events: ReturnType<ChoiceStream['end']>): LocalEvent[] {
  return events
    .filter((event) => event.event === 'text')
    .map(({ text, tokens, logprobs }) => ({ event: 'text', text, tokens, logprobs }))
}

function sentence(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/\.?$/, '.')
}

/** Resolves once messages that have come are handled; a timer would wait for milliseconds. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel()
    port1.onmessage = () => {
      port1.close()
      resolve()
    }
    port2.postMessage(null)
  })
}
