// Which projections a Llama-family model has, and which of them share an input: what a delta can change, in graph order.
// Knows neither graphs nor weights.
import type { ModelConfig } from './model-config.ts'

/** One projection of the model. */
export interface Projection {
  readonly module: string
  readonly out: number
  /** Of each output, where it brings the smoothing of the group that reads it: what the graph's W and B have been multiplied by. */
  readonly factors?: Float32Array
}

/** Projections that read the same input: one product for all, with W as with A and with B, their outputs side by side. */
export interface ProjectionGroup {
  /**
   * Prefix of the graph's inputs for a delta: `<name>.A` [projections * rank, in] and `<name>.B` [out, rank], each with an
   * optional leading row. All projections have one rank. Where they are several, B is [blocks, size, rank] as `outputBlocks`
   * says.
   */
  readonly name: string
  readonly in: number
  readonly projections: readonly Projection[]
  /** Of all its projections. */
  readonly out: number
  /** What its input comes from that nothing else reads, and that can bring the smoothing: a norm, or the group before it. */
  readonly smoothedBy?: 'norm' | 'up_proj'
  /**
   * Where the graph rounds the input to bytes: what each of its channels was multiplied by before. A is in bytes then,
   * `<name>.A` u8 [in, projections * rank] with a scale for each column, `<name>.A_scales` f32
   * [1, projections * rank].
   */
  readonly smoothing?: Float32Array
}

/** By projection group: a factor for each channel of its input, `smoothingFactors` says which. */
export type Smoothing = ReadonlyMap<string, Float32Array<ArrayBuffer>>

/** The group that the tokens are chosen by. */
export const HEAD = 'head'

/** The sizes that decide which projections a model has. */
export type ModelDimensions = Pick<
  ModelConfig,
  'layers' | 'hiddenSize' | 'intermediateSize' | 'heads' | 'kvHeads' | 'headDim' | 'vocabSize'
>

/** How many weights the groups' projections have together. */
export function weightsOf(groups: readonly Pick<ProjectionGroup, 'in' | 'out'>[]): number {
  return groups.reduce((sum, { in: inSize, out }) => sum + inSize * out, 0)
}

/** Every projection of the model that can take a delta, in the order in which the graph meets them. */
export function projectionGroups(config: ModelDimensions): ProjectionGroup[] {
  const query = config.heads * config.headDim
  const keyValue = config.kvHeads * config.headDim
  const layers = Array.from({ length: config.layers }, (_, layer): ProjectionGroup[] => {
    const path = `model.layers.${layer}`
    const projection = (module: string, out: number) => ({ module: `${path}.${module}`, out })
    return [
      {
        name: `l${layer}.qkv`,
        in: config.hiddenSize,
        ...sideBySide(
          projection('self_attn.q_proj', query),
          projection('self_attn.k_proj', keyValue),
          projection('self_attn.v_proj', keyValue),
        ),
        smoothedBy: 'norm',
      },
      {
        name: `l${layer}.o`,
        in: query,
        ...sideBySide(projection('self_attn.o_proj', config.hiddenSize)),
      },
      {
        name: `l${layer}.gate_up`,
        in: config.hiddenSize,
        ...sideBySide(
          projection('mlp.gate_proj', config.intermediateSize),
          projection('mlp.up_proj', config.intermediateSize),
        ),
        smoothedBy: 'norm',
      },
      {
        name: `l${layer}.down`,
        in: config.intermediateSize,
        ...sideBySide(projection('mlp.down_proj', config.hiddenSize)),
        smoothedBy: 'up_proj',
      },
    ]
  })
  const head = { name: HEAD, in: config.hiddenSize, ...sideBySide({ module: 'lm_head', out: config.vocabSize }) }
  return [...layers.flat(), head]
}

function sideBySide(...projections: Projection[]): Pick<ProjectionGroup, 'projections' | 'out'> {
  return { projections, out: projections.reduce((sum, { out }) => sum + out, 0) }
}

/**
 * A group's outputs in blocks of one size, the largest that all of its projections are multiples of: `of` says for each block
 * the index of its projection. A product over blocks is one, whatever the projections' sizes.
 */
export function outputBlocks({ projections }: ProjectionGroup): { size: number; of: number[] } {
  const size = projections.reduce((divisor, { out }) => greatestCommonDivisor(divisor, out), 0)
  return { size, of: projections.flatMap(({ out }, i) => new Array<number>(out / size).fill(i)) }
}

function greatestCommonDivisor(x: number, y: number): number {
  return y === 0 ? x : greatestCommonDivisor(y, x % y)
}

/** `values` [factors, ..], each row times its factor; as they are where there are no factors. */
export function timesFactors<Values extends Float32Array | Float16Array>(
  values: Values,
  factors: Float32Array | undefined,
): Values | Float32Array {
  if (!factors) return values
  const columns = values.length / factors.length
  const scaled = new Float32Array(values.length)
  for (const [row, factor] of factors.entries()) {
    for (let i = row * columns; i < (row + 1) * columns; i++) scaled[i] = values[i]! * factor
  }
  return scaled
}

/** `groups`, as `projectionGroups` lists them, with the smoothing that `of` gives for each; undefined: its input is not rounded. */
export function withSmoothing(
  groups: readonly ProjectionGroup[],
  of: (group: ProjectionGroup) => Float32Array | undefined,
): ProjectionGroup[] {
  const smoothed = groups.map((group) => {
    const smoothing = of(group)
    return smoothing ? { ...group, smoothing } : group
  })
  return smoothed.map((group, i) => {
    const { smoothedBy, smoothing } = smoothed[i + 1] ?? {}
    if (smoothedBy !== 'up_proj' || !smoothing) return group
    const withFactors = (projection: Projection) =>
      projection.module.endsWith(smoothedBy) ? { ...projection, factors: smoothing } : projection
    return { ...group, projections: group.projections.map(withFactors) }
  })
}
