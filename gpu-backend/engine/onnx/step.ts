// One turn of the engine: schedule -> run -> sample -> emit. Everything that a sequence goes through after it arrived.
// Knows no threads and no text. Invariants: a sequence that was added ends exactly once (ended, failed, embedded or
// cancelled), and its delta is pinned from its admission to its end.
import { BackendError } from '../../errors.ts'
import type { TokenTrie } from '../../grammar/token-trie.ts'
import type { FinishReason } from '../../protocol.ts'
import type { AdapterCache } from '../../residency/adapter-cache.ts'
import type { PackedDelta } from '../../residency/packed-delta.ts'
import type { Sampled } from '../../sampling/sampler.ts'
import { type RowMove, Scheduler } from '../../scheduler/scheduler.ts'
import { finishReason, newSequence, type Sequence, type SequenceRequest } from '../../scheduler/sequence.ts'
import type { Decoded } from './decode-step.ts'
import { Drafts } from './drafts.ts'
import { KeptPrompts } from './kept-prompts.ts'
import { HostKvCache } from './kv-cache.ts'
import { LoadsAhead } from './loads-ahead.ts'
import { MeanPools } from './mean-pools.ts'
import type { FromWorker, WorkerOptions, WorkerReport } from './messages.ts'
import { type Attempt, NextToken } from './next-token.ts'
import { Outbox } from './outbox.ts'
import type { Runner } from './runner.ts'

interface StepOptions
  extends Pick<WorkerOptions, 'config' | 'maxRows' | 'contextTokens' | 'kvTokens' | 'prefixCacheBytes'> {
  /** For grammars; absent where the tokenizer is of a kind that none can be put on. */
  readonly vocabulary?: TokenTrie | undefined
}

export class Step {
  readonly #options: StepOptions
  readonly #runner: Runner
  readonly #cache: AdapterCache
  readonly #loads: LoadsAhead
  readonly #nextToken: NextToken
  readonly #outbox: Outbox
  readonly #wake: () => void
  readonly #scheduler: Scheduler
  /** A device's KV cache has no views that could be copied. */
  readonly #prompts: KeptPrompts | undefined
  /** Where the runner can verify them. */
  readonly #drafts: Drafts | undefined
  /** Pinned deltas of the admitted sequences. */
  readonly #deltas = new Map<Sequence, PackedDelta>()
  readonly #pools: MeanPools
  readonly #counts = { steps: 0, generatedTokens: 0, prefillTokens: 0, draftTokens: 0, acceptedDraftTokens: 0 }

  /** `wake` is called when something that the loop may wait for has come. */
  constructor(
    options: StepOptions,
    runner: Runner,
    cache: AdapterCache,
    post: (message: FromWorker) => void,
    wake: () => void,
  ) {
    this.#options = options
    this.#runner = runner
    this.#cache = cache
    this.#nextToken = new NextToken(options.vocabulary, runner.softmax)
    this.#pools = new MeanPools(options.config.hiddenSize)
    this.#outbox = new Outbox(post)
    this.#wake = wake
    this.#loads = new LoadsAhead(cache, wake, (digest, reason) => this.#failWaiting(digest, reason))
    const { chunkTokens, verifyTokens } = runner
    const { maxRows, contextTokens, kvTokens } = options
    if (verifyTokens > 0) this.#drafts = new Drafts(verifyTokens - 1, contextTokens)
    this.#scheduler = new Scheduler({ maxRows, contextTokens, kvTokens, prefillChunkTokens: chunkTokens })
    if (runner.kv instanceof HostKvCache) {
      this.#prompts = new KeptPrompts(runner.kv, chunkTokens, options.prefixCacheBytes)
    }
  }

  get isIdle(): boolean {
    return this.#scheduler.isIdle
  }

  add(requests: readonly SequenceRequest[]): void {
    for (const request of requests) this.#scheduler.add(newSequence(request))
  }

  /** Takes sequences out wherever they are, without a word. */
  cancel(ids: readonly number[]): void {
    for (const sequence of this.#scheduler.find(({ id }) => ids.includes(id))) this.#remove(sequence)
  }

  /** Ends a sequence now, as if its last token had been one of its end tokens; nothing where it has ended by itself. */
  stop(id: number): void {
    for (const sequence of this.#scheduler.find((other) => other.id === id)) this.#end(sequence, 'stop')
  }

  /** Forgets a delta and what was computed with it. False while a sequence runs with it. */
  evict(digest: string): boolean {
    this.#prompts?.forget(digest)
    this.#drafts?.forget(digest)
    return this.#cache.evict(digest)
  }

  /** One step. False where there was nothing to run, so that the loop may sleep until it is woken. */
  run(nowMs: number): boolean {
    this.#endExpired(nowMs)
    this.#loads.start(this.#scheduler.upcoming())
    this.#admit()
    const decoded = this.#decode(this.#goOn())
    const prefilled = this.#prefill()
    this.#outbox.flush()
    return decoded || prefilled
  }

  report(): WorkerReport {
    return {
      waiting: this.#scheduler.waiting,
      running: this.#scheduler.running.length,
      stalled: this.#scheduler.stalled,
      kvUsage: this.#scheduler.kvUsage,
      counts: { ...this.#counts },
      cache: this.#cache.stats(),
      hostDigests: this.#cache.digests(),
      deviceDigests: distinctDigests(this.#scheduler.running),
    }
  }

  #endExpired(nowMs: number): void {
    for (const sequence of this.#scheduler.find(({ deadlineMs }) => deadlineMs !== undefined && deadlineMs <= nowMs)) {
      this.#end(sequence, 'deadline')
    }
  }

  #failWaiting(digest: string, reason: unknown): void {
    const text = reason instanceof Error ? reason.message : String(reason)
    const unreadable = new BackendError('adapter_missing', `The delta ${digest} could not be read: ${text}`)
    for (const sequence of this.#scheduler.find((other) => other.digest === digest && other.row < 0)) {
      this.#fail(sequence, reason instanceof BackendError ? reason : unreadable)
    }
    this.#wake()
  }

  #admit(): void {
    const ready = ({ digest }: Sequence) => digest === null || this.#cache.has(digest)
    const sequence = this.#scheduler.admit(ready)
    if (!sequence) return
    if (sequence.digest !== null) {
      this.#deltas.set(sequence, this.#cache.tryPin(sequence.digest)!)
      const running = this.#scheduler.running.some(({ digest }) => digest === sequence.digest)
      sequence.tier ??= running ? 'device' : 'host'
    }
    // Embeddings pool over every token's hidden state: those of a cached prefix are not kept.
    if (sequence.maxTokens > 0) this.#restorePrompt(sequence)
    this.#outbox.started(sequence)
  }

  #restorePrompt(sequence: Sequence): void {
    const tokens = this.#prompts?.restore(sequence) ?? 0
    sequence.numComputedTokens = tokens
    sequence.numCachedTokens = tokens
  }

  /** Those of the batch that take part in this step: its first rows. */
  #goOn(): readonly Sequence[] {
    const { going, swaps } = this.#scheduler.goOn()
    const { kv } = this.#runner
    // A device has memory for all that its rows could hold, so that none of them ever waits.
    if (!(kv instanceof HostKvCache)) return going
    for (const swap of swaps) kv.swap(swap)
    kv.hold(this.#scheduler.heldTokens(), this.#options.kvTokens)
    return going
  }

  #decode(running: readonly Sequence[]): boolean {
    if (running.length === 0) return false
    const draft = running.length === 1 ? this.#draftFor(running[0]!) : undefined
    if (draft) this.#verify(running[0]!, draft)
    else this.#decodeEach(running)
    return true
  }

  #draftFor(sequence: Sequence): readonly number[] | undefined {
    return this.#runner.canVerify(this.#deltas.get(sequence) ?? null) ? this.#drafts?.propose(sequence) : undefined
  }

  /** The next token of every row. */
  #decodeEach(running: readonly Sequence[]): void {
    const decoded = this.#guard(running, () =>
      this.#runner.decode(
        running.map((sequence) => ({
          token: sequence.outputTokens.at(-1)!,
          past: sequence.numComputedTokens,
          delta: this.#deltas.get(sequence) ?? null,
        })),
      ),
    )
    if (!decoded) return
    this.#noteStep(running)
    // All of them first: a sequence that ends moves another's row, with every token that is in it.
    for (const sequence of running) sequence.numComputedTokens++
    const logits = this.#logitsOf(decoded, 0, running.length)
    const chosen = this.#guard(running, () => this.#nextToken.chooseEach(running, logits, decoded.peaks))
    for (const [row, next] of (chosen ?? []).entries()) this.#append(running[row]!, next)
  }

  /** The next tokens of the one sequence that goes on: those of `draft` that are right, and the one after them. */
  #verify(sequence: Sequence, draft: readonly number[]): void {
    const tokens = [sequence.outputTokens.at(-1)!, ...draft]
    const delta = this.#deltas.get(sequence) ?? null
    const decoded = this.#guard([sequence], () => this.#runner.verify(tokens, sequence.numComputedTokens, delta))
    if (!decoded) return
    this.#noteStep([sequence])
    let accepted = 0
    for (const row of tokens.keys()) {
      sequence.numComputedTokens++
      const goesOn = this.#appendNext(sequence, this.#logitsOf(decoded, row, 1), decoded.peaks.subarray(row, row + 1))
      // What was computed after another token than the sequence's own is of another text.
      if (!goesOn || sequence.outputTokens.at(-1) !== draft[row]) break
      accepted++
    }
    this.#counts.draftTokens += draft.length
    this.#counts.acceptedDraftTokens += accepted
    this.#drafts!.noteAccepted(sequence, accepted)
  }

  /** Of `rows` rows from `row` on. */
  #logitsOf({ logits }: Decoded, row: number, rows: number): Float32Array {
    const { vocabSize } = this.#options.config
    return logits.subarray(row * vocabSize, (row + rows) * vocabSize)
  }

  #noteStep(running: readonly Sequence[]): void {
    this.#counts.steps++
    const deltas = distinctDigests(running).length
    for (const sequence of running) {
      sequence.maxBatchRows = Math.max(sequence.maxBatchRows, running.length)
      sequence.maxBatchDeltas = Math.max(sequence.maxBatchDeltas, deltas)
    }
  }

  #prefill(): boolean {
    const chunk = this.#scheduler.nextChunk()
    if (!chunk) return false
    const { sequence, start, end } = chunk
    const tokens = sequence.promptTokens.subarray(start, end)
    const delta = this.#deltas.get(sequence) ?? null
    const result = this.#guard([sequence], () =>
      this.#runner.prefill(sequence.row, tokens, start, delta, [end - start - 1]),
    )
    if (!result) return true
    this.#counts.prefillTokens += end - start
    sequence.numComputedTokens = end
    this.#prompts?.save(sequence, start, end)
    if (sequence.maxTokens === 0) this.#pools.add(sequence, result.hidden)
    if (end < sequence.promptTokens.length) return true
    if (sequence.maxTokens === 0) this.#finishEmbedding(sequence)
    else this.#startDecoding(sequence, result.logits)
    return true
  }

  #startDecoding(sequence: Sequence, logits: Float32Array): void {
    const { from, to } = this.#scheduler.join()
    this.#runner.kv.join(from, to, sequence.numComputedTokens)
    sequence.maxBatchRows = Math.max(1, sequence.maxBatchRows)
    sequence.maxBatchDeltas = Math.max(sequence.digest === null ? 0 : 1, sequence.maxBatchDeltas)
    this.#appendNext(sequence, logits)
  }

  #finishEmbedding(sequence: Sequence): void {
    const embedding = this.#guard([sequence], () => this.#pools.embedding(sequence))
    if (!embedding) return
    this.#remove(sequence)
    this.#outbox.embedded(sequence, embedding)
  }

  /** Chooses the sequence's next token and appends it; `logits` [vocab], `peak` [1] as `chooseEach`. Returns as `#append`. */
  #appendNext(sequence: Sequence, logits: Float32Array, peak?: Float32Array): boolean {
    const chosen = this.#guard([sequence], () => this.#nextToken.chooseEach([sequence], logits, peak))
    return chosen !== undefined && this.#append(sequence, chosen[0]!)
  }

  /** Ends the sequence where this token is its last, or there is none for it. Returns whether it goes on. */
  #append(sequence: Sequence, next: Attempt<Sampled>): boolean {
    if ('error' in next) {
      this.#fail(sequence, next.error)
      return false
    }
    sequence.outputTokens.push(next.value.token)
    this.#counts.generatedTokens++
    this.#outbox.token(sequence, next.value)
    const reason = finishReason(sequence)
    if (reason) this.#end(sequence, reason)
    return reason === undefined
  }

  #end(sequence: Sequence, reason: FinishReason): void {
    this.#remove(sequence)
    this.#drafts?.noteEnd(sequence)
    this.#outbox.ended(sequence, reason)
  }

  #fail(sequence: Sequence, error: unknown): void {
    this.#remove(sequence)
    this.#outbox.failed(sequence, error)
  }

  #remove(sequence: Sequence): void {
    this.#moveRow(this.#scheduler.remove(sequence))
    if (this.#deltas.delete(sequence)) this.#cache.unpin(sequence.digest!)
    if (this.#scheduler.isIdle) this.#scheduler.checkIntegrity()
  }

  #moveRow(move: RowMove | undefined): void {
    if (move) this.#runner.kv.move(move.from, move.to, move.sequence.numComputedTokens)
  }

  /** Runs the graph or samples; where that fails, the sequences that were in it fail, and no others. */
  #guard<T>(sequences: readonly Sequence[], work: () => T): T | undefined {
    try {
      return work()
    } catch (error) {
      for (const sequence of sequences) this.#fail(sequence, error)
      return undefined
    }
  }
}

function distinctDigests(sequences: readonly Sequence[]): string[] {
  return [...new Set(sequences.map(({ digest }) => digest).filter((digest) => digest !== null))]
}
