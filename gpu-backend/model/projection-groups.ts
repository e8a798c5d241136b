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
   * Whether the graph goes on with all parts as one: its changes must be as long as its outputs together, or one value, which
   * is broadcast. Where it does not, that holds for each part.
   */
  readonly joined: boolean
  /** Whether its input is a norm of the residual stream, which goes on beside it: what is no number stays there. */
  readonly besideResidual: boolean
  /**
   * Where the graph rounds the input to bytes: what each of its channels was multiplied by before. A is in bytes then,
   * `<name>.A<i>` u8 [in, rank] with a scale for each column, `<name>.A_scales<i>` f32 [rank].
   */
  readonly smoothing?: Float32Array
}

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
        besideResidual: true,
      },
      {
        name: `l${layer}.o`,
        in: query,
        parts: [part('self_attn.o_proj', config.hiddenSize)],
        joined: false,
        besideResidual: false,
      },
      {
        name: `l${layer}.gate_up`,
        in: config.hiddenSize,
        parts: [part('mlp.gate_proj', config.intermediateSize), part('mlp.up_proj', config.intermediateSize)],
        joined: false,
        besideResidual: true,
      },
      {
        name: `l${layer}.down`,
        in: config.intermediateSize,
        parts: [part('mlp.down_proj', config.hiddenSize)],
        joined: false,
        besideResidual: false,
      },
    ]
  })
  const lmHead = { module: 'lm_head', out: config.vocabSize }
  const head = { name: 'head', in: config.hiddenSize, parts: [lmHead], joined: false, besideResidual: false }
  return [...layers.flat(), head]
}

/** The groups of a graph that rounds the input of all that lie beside the residual stream; `smoothing` is by their names. */
export function roundedGroups(
  config: ModelDimensions,
  smoothing: ReadonlyMap<string, Float32Array> | undefined,
): ProjectionGroup[] {
  return projectionGroups(config).map((group) => {
    if (!group.besideResidual) return group
    return { ...group, smoothing: smoothing?.get(group.name) ?? new Float32Array(group.in).fill(1) }
  })
}
