// A built graph, loaded: as it is, and where its weights can be shared its variants as well.
import { dirname, join } from 'node:path'
import { DELTA_SCOPES, type DeltaScope } from '../../model/delta-scope.ts'
import { WEIGHTS_FILE } from '../../model/graph.ts'
import { variantPaths } from './graph-variants.ts'
import { useHugePages } from './huge-pages.ts'
import type { Device, OnnxRuntime, Session } from './ort.ts'
import { SharedWeights } from './shared-weights.ts'

export interface GraphSessionsOptions {
  readonly graphPath: string
  readonly device: Device
  readonly threads: number
}

/** A graph that takes deltas of `scope`. */
export interface ScopedSession {
  readonly session: Session
  readonly scope: DeltaScope
}

/** What steps run on: a prompt's chunk, a token of each of a batch's rows, and where there is one for it several tokens of a row. */
export interface StepSessions {
  readonly prompt: ScopedSession
  readonly rows: ScopedSession
  readonly verify: ScopedSession | undefined
}

export class GraphSessions {
  /** By what the step's deltas change: where there is one graph alone, `everything` is for all of them. */
  readonly scoped: ReadonlyMap<DeltaScope, StepSessions>
  readonly #sessions: Session[] = []
  readonly #shared: SharedWeights | undefined

  /** @throws OrtError when the graph or the device cannot be used */
  constructor(runtime: OnnxRuntime, { graphPath, device, threads }: GraphSessionsOptions) {
    const shared = SharedWeights.of(runtime, graphPath)
    const load = (path: string, scope: DeltaScope): ScopedSession => {
      const session = shared
        ? runtime.createSharingSession(path, threads, shared)
        : runtime.createSession(path, device, threads)
      this.#sessions.push(session)
      return { session, scope }
    }
    const whole = load(graphPath, 'everything')
    const ofVariants = (scope: DeltaScope): StepSessions => {
      const paths = variantPaths(dirname(graphPath), scope)
      const rows = load(paths.rows, scope)
      // Without deltas a graph for one token is one for several, too.
      return { prompt: scope === 'nothing' ? rows : whole, rows, verify: load(paths.verify, scope) }
    }
    this.scoped = shared
      ? new Map(DELTA_SCOPES.map((scope) => [scope, ofVariants(scope)]))
      : new Map([['everything', { prompt: whole, rows: whole, verify: undefined }]])
    shared?.letGoOfFile()
    this.#shared = shared
    if (device === 'cpu') useHugePages(join(dirname(graphPath), WEIGHTS_FILE))
  }

  release(): void {
    for (const session of this.#sessions) session.release()
    this.#shared?.release()
  }
}
