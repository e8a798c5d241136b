// What an input channel of each projection is multiplied by before it is rounded to a byte (SmoothQuant, Xiao et al. 2022,
// arXiv 2211.10438): a few channels are much larger than the others, and would take the whole range for themselves.
// The model reads a fixed text once, when its graph is built. Knows nothing of how weights are rounded.
import { readFileSync } from 'node:fs'
import { graphGroups } from '../../model/delta-layout.ts'
import { EMBEDDING_DELTA } from '../../model/delta-scope.ts'
import type { ModelConfig } from '../../model/model-config.ts'
import type { Smoothing } from '../../model/projection-groups.ts'
import { DeltaInputs } from './delta-inputs.ts'
import { floats, ints } from './host-arrays.ts'
import { HostKvCache } from './kv-cache.ts'
import { OnnxRuntime } from './ort.ts'
import type { Value } from './ort-binding.ts'

/** The text: of the kinds that models are asked for. */
export function calibrationText(): string {
  return readFileSync(new URL('./calibration.txt', import.meta.url), 'utf8')
}

/** Factors are powers of two in steps of 1/4, so that another machine's rounding finds the same ones. */
const STEPS_OF_TWO = 4
/** Channels that are hardly used count as this share of the average one. */
const LEAST_SHARE = 0.01

/**
 * The smoothing of the model whose observed graph (see `buildGraph`) lies at `graphPath`, from the `tokens` that it reads.
 * @throws OrtError when the graph cannot be run
 */
export function calibrate(graphPath: string, config: ModelConfig, tokens: ArrayLike<number>): Smoothing {
  const runtime = new OnnxRuntime()
  const session = runtime.createSession(graphPath, 'cpu', 0)
  const binding = session.createBinding()
  const count = tokens.length
  const groups = graphGroups(config, graphPath)
  const { layers, kvHeads, headDim } = config
  const kv = new HostKvCache(runtime, { layers, kvHeads, headDim, contextTokens: count, floatType: 'f32' }, 1)
  const deltas = new DeltaInputs(runtime, groups, 1, 'cpu', 'f32')
  try {
    const input = (name: string, value: Value) => binding.input(name, binding.hold(value))
    input('input_ids', runtime.hostTensor(ints(count, tokens), 'i32', [1, count]))
    input('seqlens_k', runtime.hostTensor(ints(1, [count - 1]), 'i32', [1]))
    input('total_length', runtime.hostTensor(ints(1, [count]), 'i32', []))
    input('sample_positions', runtime.hostTensor(ints(count, [...Array(count).keys()]), 'i32', [count]))
    input(EMBEDDING_DELTA, runtime.hostTensor(floats(1), 'f32', [1]))
    for (const { past, present, value } of kv.prefill(0)) {
      binding.input(past, value)
      binding.output(present, value)
    }
    deltas.bind([{ session, scope: 'everything', binding, rows: 1, deltas: undefined }], [null])
    const energies = groups.map((group) => {
      const energy = floats(group.in)
      binding.output(`${group.name}.energy`, binding.hold(runtime.hostTensor(energy, 'f32', [group.in])))
      return energy
    })
    session.run(binding)
    return new Map(groups.map(({ name }, i) => [name, smoothingFactors(energies[i]!)]))
  } finally {
    binding.release()
    deltas.release()
    kv.release()
    session.release()
    runtime.release()
  }
}

/**
 * The factor of each channel, from the sum of squares that it had: 1 / sqrt(its root mean square), up to a factor that all
 * share. Half of a channel's size goes to the weights, which have room for it.
 */
export function smoothingFactors(energy: Float32Array): Float32Array<ArrayBuffer> {
  const sizes = Float64Array.from(energy, Math.sqrt)
  const average = sizes.reduce((sum, size) => sum + size, 0) / sizes.length
  return Float32Array.from(sizes, (size) => {
    if (average === 0) return 1
    const share = Math.max(size / average, LEAST_SHARE)
    return 2 ** (-Math.round(Math.log2(share) * 0.5 * STEPS_OF_TWO) / STEPS_OF_TWO)
  })
}
