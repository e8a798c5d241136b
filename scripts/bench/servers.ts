// Ours among the contenders: a real server with its adapters, and the bare decode loop of the same graph.
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type BaseModel, projectionValues } from '../../adapters/base-model.ts'
import { graphPath } from '../../gpu-backend/engine/onnx/built-graph.ts'
import { graphGroups } from '../../gpu-backend/model/delta-layout.ts'
import { identify } from '../../gpu-backend/model/identify.ts'
import { openModelSource } from '../../gpu-backend/model/open-model.ts'
import { HEAD } from '../../gpu-backend/model/projection-groups.ts'
import type { WeightFormat } from '../../gpu-backend/model/weight-formats.ts'
import { packedValues } from '../../gpu-backend/residency/packed-delta.ts'
import { BackendProcess, greedy } from './backend-process.ts'
import type { BareLoop } from './bare-loop.ts'
import { type Contender, processContender } from './contender.ts'
import { randomDelta } from './random-delta.ts'

const BARE_LOOP = fileURLToPath(new URL('./bare-loop.ts', import.meta.url))
/** Of every contender. */
export const CONTEXT_TOKENS = 1024

export interface ServerSetup {
  readonly model: string
  readonly dataDir: string
  readonly rank: number
  readonly streams: readonly number[]
}

export interface Server {
  readonly backend: BackendProcess
  readonly base: BaseModel
  /** One for each stream at most. */
  readonly digests: readonly string[]
  readonly deltas: readonly Uint8Array[]
  readonly contender: Contender
}

export async function startServer(setup: ServerSetup, weights: WeightFormat): Promise<Server> {
  const most = Math.max(...setup.streams)
  const backend = await startBackend(setup, weights, ['--max-batch', String(most), '--memory', '8GB'])
  const { base } = await backend.info()
  const [digests, deltas]: [string[], Uint8Array[]] = [[], []]
  for (let seed = 1; seed <= most; seed++) {
    const { digest, bytes } = await randomDelta(base, setup.rank, seed)
    await backend.admit(digest, bytes)
    digests.push(digest)
    deltas.push(bytes)
  }
  const contender: Contender = {
    name: `server ${weights}`,
    streams: setup.streams,
    promptsInTurn: true,
    generate: ({ adapters, prompt, tokens }) => {
      const delta = (adapter: number | null) => (adapter === null ? null : digests[adapter]!)
      return Promise.all(adapters.map((adapter) => backend.generate(greedy(delta(adapter), prompt.text, tokens))))
    },
    stop: () => backend.stop(),
  }
  return { backend, base, digests, deltas, contender }
}

export function startBackend(
  { model, dataDir }: ServerSetup,
  weights: WeightFormat,
  more: readonly string[],
): Promise<BackendProcess> {
  const args = ['--model', model, '--data-dir', dataDir, '--weights', weights, '--context', String(CONTEXT_TOKENS)]
  return BackendProcess.start([...args, ...more])
}

export function startLoop({ model, dataDir, rank, streams }: ServerSetup, weights: WeightFormat): Promise<Contender> {
  const options: BareLoop = {
    model,
    cacheDir: join(dataDir, 'models'),
    weights,
    contextTokens: CONTEXT_TOKENS,
    threads: availableParallelism(),
    maxRows: Math.max(...streams),
    rank,
  }
  const description = { name: `loop ${weights}`, streams, promptsInTurn: true }
  return processContender(description, [process.execPath, BARE_LOOP, JSON.stringify(options)])
}

/** Bytes of one of the benchmark's deltas in f32, as it was published. */
export function deltaBytes(base: BaseModel, rank: number): number {
  return projectionValues(base, rank) * Float32Array.BYTES_PER_ELEMENT
}

/** Bytes that one of them takes in the memory of a server with these weights. */
export async function packedBytes({ model, dataDir, rank }: ServerSetup, weights: WeightFormat): Promise<number> {
  const source = await openModelSource(model)
  const cacheDir = join(dataDir, 'models')
  const base = await identify(source, 'bench', cacheDir)
  const options = { format: weights, target: 'cpu', positions: CONTEXT_TOKENS } as const
  const groups = graphGroups(source.config, await graphPath(source, base.fingerprint, options, cacheDir))
  const ranks = groups.map(({ name }) => (name === HEAD ? 0 : rank))
  return packedValues({ ranks, embeddingRank: 0 }, groups, base) * Float32Array.BYTES_PER_ELEMENT
}
