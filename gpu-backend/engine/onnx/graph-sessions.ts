// A built graph, loaded: as it is, and where its weights can be shared as the graph for several tokens of one sequence as well.
import { dirname, join } from 'node:path'
import { WEIGHTS_FILE } from '../../model/graph.ts'
import { useHugePages } from './huge-pages.ts'
import type { Device, OnnxRuntime, Session } from './ort.ts'
import { SharedWeights } from './shared-weights.ts'
import { verifyPath } from './verify-graph.ts'

export interface GraphSessionsOptions {
  readonly graphPath: string
  readonly device: Device
  readonly threads: number
}

export class GraphSessions {
  readonly main: Session
  readonly verify: Session | undefined
  readonly #shared: SharedWeights | undefined

  /** @throws OrtError when the graph or the device cannot be used */
  constructor(runtime: OnnxRuntime, { graphPath, device, threads }: GraphSessionsOptions) {
    this.#shared = SharedWeights.of(runtime, graphPath)
    if (this.#shared) {
      this.main = runtime.createSharingSession(graphPath, threads, this.#shared)
      this.verify = runtime.createSharingSession(verifyPath(graphPath), threads, this.#shared)
      this.#shared.letGoOfFile()
    } else this.main = runtime.createSession(graphPath, device, threads)
    if (device === 'cpu') useHugePages(join(dirname(graphPath), WEIGHTS_FILE))
  }

  release(): void {
    this.main.release()
    this.verify?.release()
    this.#shared?.release()
  }
}
