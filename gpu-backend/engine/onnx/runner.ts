// Runs the graph: one prefill chunk of one row, one decode step of the first B rows, or several tokens of row 0 at once.
// Holds every tensor; knows nothing of requests, sampling or order. Invariant: rows 0 .. B-1 are the running batch.

import { graphGroups } from '../../model/delta-layout.ts'
import { type DeltaScope, EMBEDDING_DELTA, widestScope } from '../../model/delta-scope.ts'
import type { ModelConfig } from '../../model/model-config.ts'
import type { ProjectionGroup } from '../../model/projection-groups.ts'
import type { FloatType } from '../../model/weight-formats.ts'
import { addEmbeddingChange, type PackedDelta } from '../../residency/packed-delta.ts'
import type { Bound, Decoded, DecodeStep } from './decode-step.ts'
import { DeltaInputs } from './delta-inputs.ts'
import { DeviceKvCache } from './device-kv-cache.ts'
import { GraphSessions, type StepSessions } from './graph-sessions.ts'
import { GraphSteps } from './graph-steps.ts'
import { VERIFY_TOKENS } from './graph-variants.ts'
import { checkHalfFloats } from './half-floats.ts'
import { rowsOfHalves } from './halves.ts'
import { floats, ints } from './host-arrays.ts'
import { HostKvCache, type KvCache } from './kv-cache.ts'
import { computesPieces } from './long-pieces.ts'
import { type Device, OnnxRuntime } from './ort.ts'
import { type Value, whileHeld } from './ort-binding.ts'
import { GPU_CHUNK_TOKENS, prefillChunkTokens } from './prefill-chunk.ts'
import { RowSoftmax } from './row-softmax.ts'
import { RowsApart } from './rows-apart.ts'
import { SecondThread } from './second-thread.ts'

export interface RunnerOptions {
  readonly graphPath: string
  readonly config: ModelConfig
  /** Of the graph's deltas and KV cache. */
  readonly floatType: FloatType
  readonly device: Device
  readonly threads: number
  /** Rows of the batch. */
  readonly maxRows: number
  readonly contextTokens: number
  /** What the batch's deltas may take, of a CPU's; without it they take what they need. */
  readonly stackBytes?: number
}

/** One row's part in a decode step. */
export interface DecodeRow {
  readonly token: number
  /** Tokens of this row that are in the KV cache already. */
  readonly past: number
  readonly delta: PackedDelta | null
}

/** Tokens of a row, as many as of any other, and the delta that changes them. */
interface ChangedRow {
  readonly tokens: ArrayLike<number>
  readonly delta: PackedDelta | null
}

export class Runner {
  readonly kv: KvCache
  /** For the logits that the graph gives. */
  readonly softmax: RowSoftmax
  /** Tokens that a prompt is to be computed in at once. */
  readonly chunkTokens: number
  readonly groups: readonly ProjectionGroup[]
  readonly #options: RunnerOptions
  readonly #runtime: OnnxRuntime
  readonly #sessions: GraphSessions
  /** By what a step's deltas change; `everything` takes the place of those that are not there. */
  readonly #steps = new Map<DeltaScope, GraphSteps>()
  readonly #newSteps: (sessions: StepSessions) => GraphSteps
  readonly #deltas: DeltaInputs
  /** A device's memory is planned by hand, and its batch has no row that a prompt's graph could write. */
  readonly #rowsApart: RowsApart | undefined
  /** What comes of a chunk, as long as the longest so far: new memory for each would keep the garbage collector busy. */
  #prefillLogits = floats(0)
  #prefillHidden = floats(0)
  /** What decode steps give, for as many rows as any has. */
  readonly #results: Decoded
  /** For half of a batch, once there are graphs for halves. */
  #second: SecondThread | undefined
  /** The embeddings' change for rows that have none: broadcast over everything. */
  readonly #noEmbeddingDelta: Value
  readonly #firstPosition: Value

  /** @throws OrtError when the graph or the device cannot be used */
  constructor(options: RunnerOptions) {
    const { config, floatType, maxRows, contextTokens } = options
    this.#options = options
    this.#runtime = new OnnxRuntime()
    if (floatType === 'f16') checkHalfFloats(this.#runtime, options.device)
    const halvesFrom = rowsOfHalves(config)
    const inHalves = options.threads > 1 && maxRows >= halvesFrom
    this.#sessions = new GraphSessions(this.#runtime, { ...options, inHalves })
    const { whole } = this.#sessions
    this.chunkTokens =
      options.device === 'webgpu' && computesPieces(this.#runtime, 'webgpu', config, GPU_CHUNK_TOKENS, floatType)
        ? GPU_CHUNK_TOKENS
        : prefillChunkTokens(config, options.device)
    this.groups = graphGroups(config, options.graphPath)
    const shape = { layers: config.layers, kvHeads: config.kvHeads, headDim: config.headDim, contextTokens, floatType }
    this.kv =
      options.device === 'cpu'
        ? new HostKvCache(this.#runtime, shape, maxRows)
        : new DeviceKvCache(this.#runtime, whole.rows.session, options.device, shape, maxRows, () => {
            for (const steps of this.#steps.values()) steps.forgetCache()
          })
    this.#deltas = new DeltaInputs(this.#runtime, this.groups, maxRows, options.device, floatType)
    if (options.device === 'cpu' && options.stackBytes !== undefined) {
      this.#rowsApart = new RowsApart(this.groups, floatType, options.stackBytes)
    }
    this.#noEmbeddingDelta = this.#runtime.hostTensor(floats(1), 'f32', [1])
    this.#firstPosition = this.#runtime.hostTensor(ints(1), 'i32', [1])
    const { vocabSize } = config
    const rows = Math.max(maxRows, VERIFY_TOKENS)
    this.#results = { logits: floats(rows * vocabSize), peaks: floats(rows) }
    const stepsOptions = { vocabSize, results: this.#results, firstPosition: this.#firstPosition, halvesFrom }
    this.#newSteps = (sessions) => new GraphSteps(this.#runtime, sessions, this.kv, stepsOptions)
    this.#steps.set('everything', this.#newSteps(whole))
    this.softmax = new RowSoftmax(this.#runtime, vocabSize, options.threads)
  }

  /**
   * Loads the graphs that take less time for what they are for, until `signal` aborts; each is used from the next step on. Before
   * that steps have the same bits by the whole graph, and none is verified. To be called once, and awaited before `release`.
   * @throws OrtError when one cannot be loaded
   */
  async loadVariants(signal?: AbortSignal): Promise<void> {
    if (this.#sessions.hasHalves) this.#second = await SecondThread.start(this.#runtime)
    for await (const [scope, sessions] of this.#sessions.loadVariants(signal)) {
      this.#steps.get(scope)?.release()
      this.#steps.set(scope, this.#newSteps(sessions))
    }
  }

  /**
   * Runs `tokens` at positions `past` .. of `row` with `delta`; `samplePositions` are the indices within `tokens` whose
   * logits are wanted. Returns logits [samplePositions, vocab] and hidden states [tokens, hidden], both f32, valid until the
   * next call.
   */
  prefill(
    row: number,
    tokens: ArrayLike<number>,
    past: number,
    delta: PackedDelta | null,
    samplePositions: readonly number[],
  ): { logits: Float32Array; hidden: Float32Array } {
    const { vocabSize, hiddenSize } = this.#options.config
    const count = tokens.length
    const [logitsLength, hiddenLength] = [samplePositions.length * vocabSize, count * hiddenSize]
    if (this.#prefillLogits.length < logitsLength) this.#prefillLogits = floats(logitsLength)
    if (this.#prefillHidden.length < hiddenLength) this.#prefillHidden = floats(hiddenLength)
    const logits = this.#prefillLogits.subarray(0, logitsLength)
    const hidden = this.#prefillHidden.subarray(0, hiddenLength)
    const step = this.#stepsFor([{ delta }]).prefill
    const { session, binding } = step
    whileHeld((host) => {
      binding.input('input_ids', host(this.#runtime.hostTensor(ints(count, tokens), 'i32', [1, count])))
      binding.input('seqlens_k', host(this.#runtime.hostTensor(ints(1, [past + count - 1]), 'i32', [1])))
      binding.input('total_length', host(this.#runtime.hostTensor(ints(1, [past + count]), 'i32', [])))
      const positions = ints(samplePositions.length, samplePositions)
      binding.input('sample_positions', host(this.#runtime.hostTensor(positions, 'i32', [positions.length])))
      this.#bindEmbeddingDelta(step, [{ tokens, delta }], host)
      this.#bindDeltas([step], [{ delta }])
      for (const { past: name, present, value } of this.kv.prefill(row)) {
        binding.input(name, value)
        binding.output(present, value)
      }
      binding.output('logits', host(this.#runtime.hostTensor(logits, 'f32', [1, samplePositions.length, vocabSize])))
      binding.output('hidden', host(this.#runtime.hostTensor(hidden, 'f32', [1, count, hiddenSize])))
      session.run(binding)
    })
    return { logits, hidden }
  }

  /**
   * One token of every row, rows 0 .. running.length-1. Returns logits [rows, vocab] f32 and the largest of each row
   * [rows] f32, valid until the next step.
   */
  decode(running: readonly DecodeRow[]): Decoded {
    const apart = this.#rowsApart?.of(running.map(({ delta }) => delta))
    if (!apart?.size) return this.#decodeTogether(running)
    // In the batch they are rows of the base model, whose results, those in the KV cache too, the row's own take the place of.
    const decoded = this.#decodeTogether(running.map((row, i) => (apart.has(i) ? { ...row, delta: null } : row)))
    const { vocabSize } = this.#options.config
    for (const i of apart) {
      const { token, past, delta } = running[i]!
      const { logits } = this.prefill(i, [token], past, delta, [0])
      decoded.logits.set(logits, i * vocabSize)
      decoded.peaks[i] = logits.reduce((peak, logit) => Math.max(peak, logit), Number.NEGATIVE_INFINITY)
    }
    return decoded
  }

  /** How many tokens `verify` takes; 0: it cannot be used here. */
  get verifyTokens(): number {
    return this.#sessions.hasVariants ? VERIFY_TOKENS : 0
  }

  /** Whether `verify` can be used already. */
  canVerify(delta: PackedDelta | null): boolean {
    return this.#stepsFor([{ delta }]).verify !== undefined
  }

  /**
   * `tokens` at positions `past` .. of row 0, all in one step: the same bits as of so many calls of `decode` for that row alone.
   * Returns what follows each token, as `decode` does of rows.
   */
  verify(tokens: readonly number[], past: number, delta: PackedDelta | null): Decoded {
    const rows = tokens.map((token, index) => ({ token, past: past + index, delta }))
    return this.#decodeRows([this.#stepsFor(rows).verify!], rows)
  }

  /** Must be called before a delta's memory goes. */
  forget(digest: string): void {
    for (const steps of this.#steps.values()) steps.forgetDeltas()
    this.#deltas.forget(digest)
  }

  release(): void {
    this.#second?.close()
    for (const steps of this.#steps.values()) steps.release()
    this.#deltas.release()
    this.kv.release()
    this.softmax.release()
    this.#noEmbeddingDelta.release()
    this.#firstPosition.release()
    this.#sessions.release()
    this.#runtime.release()
  }

  /** Those that take what the rows' deltas change, and least beside it. */
  #stepsFor(rows: readonly Pick<DecodeRow, 'delta'>[]): GraphSteps {
    const scope = widestScope(rows.map(({ delta }) => delta?.scope ?? 'nothing'))
    return this.#steps.get(scope) ?? this.#steps.get('everything')!
  }

  /** A device's cache has no views, so its batch always has every row: those that do not run repeat the first's delta. */
  #padded(running: readonly DecodeRow[]): readonly DecodeRow[] {
    if (this.#options.device === 'cpu') return running
    const idle = { token: 0, past: 0, delta: running[0]!.delta }
    return Array.from({ length: this.#options.maxRows }, (_, row) => running[row] ?? idle)
  }

  #decodeTogether(running: readonly DecodeRow[]): Decoded {
    const rows = this.#padded(running)
    return this.#decodeRows(this.#stepsFor(rows).decode(rows.length), rows)
  }

  /** `parts` have the rows, one after another. */
  #decodeRows(parts: readonly DecodeStep[], rows: readonly DecodeRow[]): Decoded {
    whileHeld((host) => {
      let first = 0
      for (const part of parts) {
        this.#bindRows(part, rows.slice(first, first + part.rows), host)
        first += part.rows
      }
      this.#bindDeltas(parts, rows)
      const [one, other] = parts
      if (other) this.#second!.runBoth(one!, other)
      else one!.session.run(one!.binding)
    })
    const { logits, peaks } = this.#results
    const { vocabSize } = this.#options.config
    return { logits: logits.subarray(0, rows.length * vocabSize), peaks: peaks.subarray(0, rows.length) }
  }

  #bindRows(part: DecodeStep, rows: readonly DecodeRow[], host: (value: Value) => Value): void {
    for (const [i, row] of rows.entries()) {
      part.ids[i] = row.token
      part.seqlens[i] = row.past
    }
    part.total[0] = Math.max(...rows.map(({ past }) => past + 1))
    for (const { name, value } of part.inputs) part.binding.input(name, value)
    const changed = rows.map(({ token, delta }) => ({ tokens: [token], delta }))
    this.#bindEmbeddingDelta(part, changed, host)
  }

  #bindDeltas(parts: readonly Bound[], rows: readonly Pick<DecodeRow, 'delta'>[]): void {
    if (parts[0]!.scope === 'nothing') return
    this.#deltas.bind(
      parts,
      rows.map(({ delta }) => delta),
    )
  }

  /** A change to the token embeddings is made here and given to the graph as a sum. */
  #bindEmbeddingDelta({ scope, binding }: Bound, rows: readonly ChangedRow[], host: (value: Value) => Value): void {
    if (scope === 'nothing') return
    if (rows.every(({ delta }) => !delta?.embedding)) {
      binding.input(EMBEDDING_DELTA, this.#noEmbeddingDelta)
      return
    }
    const { hiddenSize } = this.#options.config
    const count = rows[0]!.tokens.length
    const sums = floats(rows.length * count * hiddenSize)
    for (const [row, { tokens, delta }] of rows.entries()) {
      const start = row * count * hiddenSize
      if (delta?.embedding)
        addEmbeddingChange(delta.embedding, tokens, sums.subarray(start, start + count * hiddenSize))
    }
    binding.input(EMBEDDING_DELTA, host(this.#runtime.hostTensor(sums, 'f32', [rows.length, count, hiddenSize])))
  }
}
