// The graph in onnxruntime-web: one sequence, and the delta that it runs with. Knows no text, no sampling and no network.
// Where the tensors lie is sequence-memory.ts's. Invariant: a run reads the tokens before it from the KV cache, so runs
// follow one another, or start again from an earlier position.
import type { InferenceSession, Tensor } from 'onnxruntime-web'
import type { BaseModel } from '../../adapters/base-model.ts'
import { deltaTensors, type NoChange, noChange } from '../engine/onnx/delta-tensors.ts'
import { factorName, isFactor } from '../model/delta-factors.ts'
import { EMBEDDING_DELTA } from '../model/delta-scope.ts'
import { WEIGHTS_FILE } from '../model/graph.ts'
import { type ModelDimensions, type ProjectionGroup, projectionGroups } from '../model/projection-groups.ts'
import { addEmbeddingChange, type PackedDelta } from '../residency/packed-delta.ts'
import { BrowserError } from './browser-error.ts'
import type { BrowserDevice } from './messages.ts'
import { GpuMemory, HostMemory, type Runtime, type SequenceMemory } from './sequence-memory.ts'

export interface GraphSessionOptions {
  readonly device: BrowserDevice
  readonly graph: Uint8Array
  readonly weights: Blob
  readonly base: BaseModel
  readonly contextTokens: number
}

type Feeds = Record<string, Tensor>

export class GraphSession {
  readonly groups: readonly ProjectionGroup[]
  readonly dimensions: ModelDimensions
  readonly #runtime: Runtime
  readonly #session: InferenceSession
  readonly #memory: SequenceMemory
  readonly #none: NoChange
  #delta: PackedDelta | null = null
  /** A and B of every group. */
  #deltaFeeds: Feeds = {}
  /** Why the GPU is gone. */
  #lost: Error | undefined
  /** Ends the run that is under way: the runtime would wait for a lost GPU for ever. */
  #fail: (reason: Error) => void = () => {}

  private constructor(
    runtime: Runtime,
    session: InferenceSession,
    memory: SequenceMemory,
    dimensions: ModelDimensions,
  ) {
    this.#runtime = runtime
    this.#session = session
    this.#memory = memory
    this.dimensions = dimensions
    this.groups = projectionGroups(dimensions)
    this.#none = noChange(this.groups, 1)
    this.#placeDelta()
  }

  /** @throws BrowserError `unsupported` where the runtime or the device refuses the graph */
  static async create(options: GraphSessionOptions): Promise<GraphSession> {
    const { device, graph, weights, base, contextTokens } = options
    // JavaScript that waits inside WebAssembly: half the download of the build that works without it.
    const runtime: Runtime = await (device === 'webgpu'
      ? import('onnxruntime-web/jspi')
      : import('onnxruntime-web/wasm'))
    const dimensions = dimensionsOf(base)
    const present = kvNames(dimensions.layers, 'present')
    try {
      const session = await runtime.InferenceSession.create(graph, {
        executionProviders: [device],
        externalData: [{ path: WEIGHTS_FILE, data: weights }],
        graphOptimizationLevel: 'all',
        // Errors only: the cache of a sequence that grows is longer than what went in, which would be warned of each time.
        logSeverityLevel: 3,
        ...(device === 'webgpu'
          ? { preferredOutputLocation: Object.fromEntries(present.map((name) => [name, 'gpu-buffer' as const])) }
          : {}),
      })
      if (!takesDeltas(session, dimensions)) {
        await session.release()
        throw new Error('it was published by another version of Polylora, and must be published again')
      }
      if (device === 'wasm') return new GraphSession(runtime, session, new HostMemory(runtime, dimensions), dimensions)
      const gpu = await runtime.env.webgpu.device
      const memory = new GpuMemory(runtime, gpu, dimensions, contextTokens)
      const made = new GraphSession(runtime, session, memory, dimensions)
      void gpu.lost.then(({ message }) => made.#lose(new Error(message || 'the GPU is gone')))
      return made
    } catch (error) {
      throw new BrowserError('unsupported', `The model cannot run on ${device} in this browser: ${reasonOf(error)}.`)
    }
  }

  /** The following runs are with `delta`; null: the bare base model. */
  use(delta: PackedDelta | null): void {
    if (delta?.digest === this.#delta?.digest) return
    for (const tensor of Object.values(this.#deltaFeeds)) this.#memory.free(tensor)
    this.#delta = delta
    this.#placeDelta()
  }

  /** Forgets the sequence. */
  restart(): void {
    this.#memory.restart()
  }

  /**
   * Runs `tokens` at positions `past` .. and returns the last one's logits [vocab] f32.
   * @throws BrowserError `unsupported` once the GPU is lost, or the runtime fails
   */
  async run(tokens: Int32Array, past: number): Promise<Float32Array> {
    const count = tokens.length
    const feeds: Feeds = {
      input_ids: this.#ints(tokens, [1, count]),
      seqlens_k: this.#ints([past + count - 1], [1]),
      total_length: this.#ints([past + count], []),
      sample_positions: this.#ints([count - 1], [1]),
      [EMBEDDING_DELTA]: this.#embeddingDelta(tokens),
      ...this.#deltaFeeds,
    }
    const { layers } = this.dimensions
    for (const [i, name] of kvNames(layers, 'past').entries()) feeds[name] = this.#memory.past[i]!
    const present = kvNames(layers, 'present')
    const fetches: Record<string, Tensor | null> = { logits: null }
    for (const [i, name] of present.entries()) fetches[name] = this.#memory.present?.[i] ?? null
    const outputs = await this.#compute(feeds, fetches).catch((error) => {
      throw new BrowserError('unsupported', `The model stopped (${reasonOf(error)}): load it again.`)
    })
    this.#memory.keep(present.map((name) => outputs[name]!))
    return outputs.logits!.data as Float32Array
  }

  /** A promise of its own for each run: what a lasting one is raced with, it keeps, outputs and all. */
  #compute(feeds: Feeds, fetches: Record<string, Tensor | null>): Promise<InferenceSession.ReturnType> {
    return new Promise((resolve, reject) => {
      if (this.#lost) return reject(this.#lost)
      this.#fail = reject
      this.#session.run(feeds, fetches).then(resolve, reject)
    })
  }

  #lose(reason: Error): void {
    this.#lost = reason
    this.#fail(reason)
  }

  #placeDelta(): void {
    const tensors = this.groups.flatMap((group, i) => deltaTensors(group, this.#delta?.groups[i], this.#none))
    this.#deltaFeeds = Object.fromEntries(
      // A browser's graph takes all of a delta in floats.
      tensors.map(({ name, values, dims }) => [name, this.#memory.place(values as Float32Array, dims)]),
    )
  }

  #embeddingDelta(tokens: Int32Array): Tensor {
    const { hiddenSize } = this.dimensions
    const embedding = this.#delta?.embedding
    // Broadcast over everything.
    if (!embedding) return new this.#runtime.Tensor('float32', new Float32Array(1), [1])
    const sums = new Float32Array(tokens.length * hiddenSize)
    addEmbeddingChange(embedding, tokens, sums)
    return new this.#runtime.Tensor('float32', sums, [1, tokens.length, hiddenSize])
  }

  #ints(values: ArrayLike<number>, dims: readonly number[]): Tensor {
    return new this.#runtime.Tensor('int32', Int32Array.from(values), dims)
  }
}

/** Whether the graph has the inputs for deltas that this version gives it. */
function takesDeltas({ inputNames }: InferenceSession, dimensions: ModelDimensions): boolean {
  const names = projectionGroups(dimensions).flatMap((group) => [factorName(group, 'A'), factorName(group, 'B')])
  const taken = inputNames.filter(isFactor)
  return taken.length === names.length && names.every((name) => taken.includes(name))
}

/** The graph's inputs (`past`) or outputs (`present`) of the KV cache, K and V of each layer alternating. */
function kvNames(layers: number, which: 'past' | 'present'): string[] {
  return Array.from({ length: layers }, (_, layer) => [`${which}_k.${layer}`, `${which}_v.${layer}`]).flat()
}

function dimensionsOf(base: BaseModel): ModelDimensions {
  return {
    layers: base.layers,
    hiddenSize: base.hidden_size,
    intermediateSize: base.intermediate_size,
    heads: base.heads,
    kvHeads: base.kv_heads,
    headDim: base.head_dim,
    vocabSize: base.vocab_size,
  }
}

function reasonOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/\.$/, '')
}
