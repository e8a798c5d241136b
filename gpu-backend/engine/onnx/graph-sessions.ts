// A built graph, loaded: as it is, and where its weights can be shared its variants as well.
import { dirname, join } from 'node:path'
import { WEIGHTS_FILE } from '../../model/graph.ts'
import { variantPath } from './graph-variants.ts'
import { useHugePages } from './huge-pages.ts'
import type { Device, OnnxRuntime, Session } from './ort.ts'
import { SharedWeights } from './shared-weights.ts'

export interface GraphSessionsOptions {
  readonly graphPath: string
  readonly device: Device
  readonly threads: number
}

/** What a graph is loaded as: for the rows of a batch, and where there is one for several tokens of one row. */
export interface SessionPair {
  readonly rows: Session
  readonly verify: Session | undefined
}

export class GraphSessions {
  readonly withDeltas: SessionPair
  /** For steps in which no row has a delta. */
  readonly bare: SessionPair | undefined
  readonly #shared: SharedWeights | undefined

  /** @throws OrtError when the graph or the device cannot be used */
  constructor(runtime: OnnxRuntime, { graphPath, device, threads }: GraphSessionsOptions) {
    const shared = SharedWeights.of(runtime, graphPath)
    if (shared) {
      const load = (path: string) => runtime.createSharingSession(path, threads, shared)
      this.withDeltas = { rows: load(graphPath), verify: load(variantPath(graphPath, 'verify')) }
      this.bare = {
        rows: load(variantPath(graphPath, 'bare')),
        verify: load(variantPath(graphPath, 'bare-verify')),
      }
      shared.letGoOfFile()
    } else {
      const rows = runtime.createSession(graphPath, device, threads)
      this.withDeltas = { rows, verify: undefined }
    }
    this.#shared = shared
    if (device === 'cpu') useHugePages(join(dirname(graphPath), WEIGHTS_FILE))
  }

  release(): void {
    for (const pair of [this.withDeltas, this.bare]) {
      pair?.rows.release()
      pair?.verify?.release()
    }
    this.#shared?.release()
  }
}
