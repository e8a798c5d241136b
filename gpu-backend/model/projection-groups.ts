// Which projections a Llama-family model has, and which of them share an input: what a delta can change, in graph order.
// Knows neither graphs nor weights.
import type { ModelConfig } from './model-config.ts'

/** One projection of a group. */
export interface Part {
  readonly module: string
  readonly out: number
  /** Of each output, where it brings the smoothing of the group that reads it: what the graph's W and B have been multiplied by. */
  readonly factors?: Float32Array
}

/** Projections that read the same input. */
export interface ProjectionGroup {
  /**
   * Prefix of the graph's inputs for part i: `<name>.A<i>` [rank, in] and `<name>.B<i>` [out, rank], each with an optional
   * leading row. Each part has a rank of its own.
   */
  readonly name: string
  readonly in: number
  readonly parts: readonly Part[]
  /**
   * Whether the graph joins the parts' outputs. Their changes, joined as well, must then be as long as these, or a single
   * value, which is broadcast; of a group that is not joined, each part's change must be.
   */
  readonly joined: boolean
  /** What its input comes from that nothing else reads, and that can bring the smoothing: a norm, or the group before it. */
  readonly smoothedBy?: 'norm' | 'up_proj'
  /**
   * Where the graph rounds the input to bytes: what each of its channels was multiplied by before. A is in bytes then,
   * `<name>.A<i>` u8 [in, rank] with a scale for each column, `<name>.A_scales<i>` f32 [rank].
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

/** Every projection of the model that can take a delta, in the order in which the graph meets them. */
export function projectionGroups(config: ModelDimensions): ProjectionGroup[] {
  const query = config.heads * config.headDim
  const keyValue = config.kvHeads * config.headDim
  const layers = Array.from({ length: config.layers }, (_, layer): ProjectionGroup[] => {
    const path = `model.layers.${layer}`
    const part = (module: string, out: number) => ({ module: `${path}.${module}`, out })
    return [
      {
        name: `l${layer}.qkv`,
        in: config.hiddenSize,
        parts: [
          part('self_attn.q_proj', query),
          part('self_attn.k_proj', keyValue),
          part('self_attn.v_proj', keyValue),
        ],
        joined: true,
        smoothedBy: 'norm',
      },
      {
        name: `l${layer}.o`,
        in: query,
        parts: [part('self_attn.o_proj', config.hiddenSize)],
        joined: false,
      },
      {
        name: `l${layer}.gate_up`,
        in: config.hiddenSize,
        parts: [part('mlp.gate_proj', config.intermediateSize), part('mlp.up_proj', config.intermediateSize)],
        joined: false,
        smoothedBy: 'norm',
      },
      {
        name: `l${layer}.down`,
        in: config.intermediateSize,
        parts: [part('mlp.down_proj', config.hiddenSize)],
        joined: false,
        smoothedBy: 'up_proj',
      },
    ]
  })
  const lmHead = { module: 'lm_head', out: config.vocabSize }
  const head = { name: HEAD, in: config.hiddenSize, parts: [lmHead], joined: false }
  return [...layers.flat(), head]
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
    const parts = group.parts.map((part) => (part.module.endsWith(smoothedBy) ? { ...part, factors: smoothing } : part))
    return { ...group, parts }
  })
}
