// Which projections a Llama-family model has, and which of them share an input: what a delta can change, in graph order.
// Knows neither graphs nor weights.
import type { ModelConfig } from './model-config.ts'

/** Projections that read the same input. */
export interface ProjectionGroup {
  /**
   * Prefix of the graph's inputs for part i: `<name>.A<i>` [rank, in] and `<name>.B<i>` [out, rank], each with an optional
   * leading row. Each part has a rank of its own.
   */
  readonly name: string
  readonly in: number
  readonly parts: readonly { readonly module: string; readonly out: number }[]
  /**
   * Whether the graph joins the parts' outputs. Their changes, joined as well, must then be as long as these, or a single
   * value, which is broadcast; of a group that is not joined, each part's change must be.
   */
  readonly joined: boolean
  /** Whether its input is a norm that nothing else reads: the norm's weights can bring the smoothing. */
  readonly afterNorm: boolean
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
        afterNorm: true,
      },
      {
        name: `l${layer}.o`,
        in: query,
        parts: [part('self_attn.o_proj', config.hiddenSize)],
        joined: false,
        afterNorm: false,
      },
      {
        name: `l${layer}.gate_up`,
        in: config.hiddenSize,
        parts: [part('mlp.gate_proj', config.intermediateSize), part('mlp.up_proj', config.intermediateSize)],
        joined: false,
        afterNorm: true,
      },
      {
        name: `l${layer}.down`,
        in: config.intermediateSize,
        parts: [part('mlp.down_proj', config.hiddenSize)],
        joined: false,
        afterNorm: false,
      },
    ]
  })
  const lmHead = { module: 'lm_head', out: config.vocabSize }
  const head = { name: HEAD, in: config.hiddenSize, parts: [lmHead], joined: false, afterNorm: false }
  return [...layers.flat(), head]
}
