// A built graph, loaded: as it is, and where its weights can be shared its variants as well, which may come later.
// Invariant: all give the same bits, so that it does not matter which are there.
import { dirname, join } from 'node:path'
import { DELTA_SCOPES, type DeltaScope } from '../../model/delta-scope.ts'
import { WEIGHTS_FILE } from '../../model/graph.ts'
import { variantPaths } from './graph-variants.ts'
import { useHugePages } from './huge-pages.ts'
import { M_MMAP_THRESHOLD, memoryCalls } from './libc.ts'
import type { Device, OnnxRuntime, Session } from './ort.ts'
import { SharedWeights } from './shared-weights.ts'

/** Weights are larger. What a session packs of one that is packed already is freed at once, and would stay in its thread's heap. */
const LARGE_BYTES = 256 << 10

export interface GraphSessionsOptions {
  readonly graphPath: string
  readonly device: Device
  readonly threads: number
  /** Whether batches may be computed in halves. */
  readonly inHalves: boolean
}

/** A graph that takes deltas of `scope`. */
export interface ScopedSession {
  readonly session: Session
  readonly scope: DeltaScope
}

/** What steps run on. */
export interface StepSessions {
  /** A prompt's chunk. */
  readonly prompt: ScopedSession
  /** A token of each of a batch's rows. */
  readonly rows: ScopedSession
  /** The same for half of them, with half of the threads; where there is one, two halves are computed at once. */
  readonly half: ScopedSession | undefined
  /** Several tokens of a row; where there is one for it. */
  readonly verify: ScopedSession | undefined
}

export class GraphSessions {
  /** The graph as it was built, for steps of every kind. */
  readonly whole: StepSessions
  readonly #runtime: OnnxRuntime
  readonly #options: GraphSessionsOptions
  readonly #sessions: Session[]
  readonly #shared: SharedWeights | undefined

  /** @throws OrtError when the graph or the device cannot be used */
  constructor(runtime: OnnxRuntime, options: GraphSessionsOptions) {
    const { graphPath, device, threads } = options
    this.#runtime = runtime
    this.#options = options
    this.#shared = SharedWeights.of(runtime, graphPath)
    const session = this.#shared
      ? runtime.createSharingSession(graphPath, threads, this.#shared)
      : runtime.createSession(graphPath, device, threads)
    this.#sessions = [session]
    const whole: ScopedSession = { session, scope: 'everything' }
    this.whole = { prompt: whole, rows: whole, half: undefined, verify: undefined }
  }

  get hasVariants(): boolean {
    return this.#shared !== undefined
  }

  /** Whether there are graphs for halves of a batch among the variants. */
  get hasHalves(): boolean {
    return this.hasVariants && this.#options.inHalves
  }

  /**
   * The variants by what a step's deltas change, each pair once it is loaded: in another thread, since ONNX Runtime packs all
   * weights for every session anew before it finds them packed already. Large pages come last. Ends early once `signal` aborts.
   * @throws OrtError when one cannot be loaded
   */
  async *loadVariants(signal?: AbortSignal): AsyncGenerator<readonly [DeltaScope, StepSessions]> {
    const { graphPath, device, threads, inHalves } = this.#options
    const dir = dirname(graphPath)
    const shared = this.#shared
    if (shared) {
      memoryCalls()?.mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
      for (const scope of DELTA_SCOPES) {
        if (signal?.aborted) return
        const paths = variantPaths(dir, scope)
        const rows = await this.#load(paths.rows, scope, threads, shared)
        const verify = await this.#load(paths.verify, scope, threads, shared)
        const half = inHalves ? await this.#load(paths.rows, scope, threads >> 1, shared) : undefined
        // Without deltas a graph for one token is one for several, too.
        yield [scope, { prompt: scope === 'nothing' ? rows : this.whole.prompt, rows, half, verify }]
      }
      shared.letGoOfFile()
    }
    if (device === 'cpu') await useHugePages(join(dir, WEIGHTS_FILE), signal)
  }

  async #load(path: string, scope: DeltaScope, threads: number, shared: SharedWeights): Promise<ScopedSession> {
    const session = await this.#runtime.loadSharingSession(path, threads, shared)
    this.#sessions.push(session)
    return { session, scope }
  }

  release(): void {
    for (const session of this.#sessions) session.release()
    this.#shared?.release()
  }
}
