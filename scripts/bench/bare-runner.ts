// The runner by itself, with a model's graph built in a folder and the benchmark's deltas as it takes them.
import { decodeDelta } from '../../adapters/canonical.ts'
import { graphPath } from '../../gpu-backend/engine/onnx/built-graph.ts'
import { OrtError } from '../../gpu-backend/engine/onnx/ort-api.ts'
import { Runner, type RunnerOptions } from '../../gpu-backend/engine/onnx/runner.ts'
import { identify } from '../../gpu-backend/model/identify.ts'
import { openModelSource } from '../../gpu-backend/model/open-model.ts'
import { floatTypeOf, type WeightFormat } from '../../gpu-backend/model/weight-formats.ts'
import { type PackedDelta, packDelta, viewPacked } from '../../gpu-backend/residency/packed-delta.ts'
import { CliError } from '../cli-error.ts'
import { randomDelta } from './random-delta.ts'

export interface BareRunnerOptions extends Pick<RunnerOptions, 'device' | 'threads' | 'maxRows' | 'contextTokens'> {
  readonly model: string
  readonly cacheDir: string
  readonly weights: WeightFormat
}

export interface BareRunner {
  readonly runner: Runner
  /** The delta that `randomDelta` makes of `seed`. */
  delta(rank: number, seed: number): Promise<PackedDelta>
}

export async function openBareRunner(options: BareRunnerOptions): Promise<BareRunner> {
  const { cacheDir, weights, device, threads, maxRows, contextTokens } = options
  const source = await openModelSource(options.model)
  const { config } = source
  const base = await identify(source, 'bench', cacheDir)
  const graph = { format: weights, target: device, positions: contextTokens }
  const runner = await startRunner({
    graphPath: await graphPath(source, base.fingerprint, graph, cacheDir),
    config,
    floatType: floatTypeOf(weights),
    device,
    threads,
    maxRows,
    contextTokens,
  })
  return {
    runner,
    async delta(rank, seed) {
      const { digest, bytes } = await randomDelta(base, rank, seed)
      const { shape, values } = packDelta(digest, decodeDelta(bytes, base), runner.groups, base)
      return viewPacked(digest, shape, runner.groups, base, values)
    },
  }
}

/** With all its graphs. Throws CliError where the device cannot be used. */
async function startRunner(options: RunnerOptions): Promise<Runner> {
  try {
    const runner = new Runner(options)
    await runner.loadVariants()
    return runner
  } catch (error) {
    throw error instanceof OrtError ? new CliError(error.message) : error
  }
}
