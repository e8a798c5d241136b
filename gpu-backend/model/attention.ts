// Grouped-query attention with its KV cache, as the graph computes it. Knows no projections.
// Invariant: a row's result depends on that row alone, and K and V of its tokens are written into its own cache.
import type { GraphWriter } from './graph-writer.ts'
import type { ModelConfig } from './model-config.ts'
import type { Weights } from './model-source.ts'
import { norm } from './norm.ts'
import { MICROSOFT } from './onnx-file.ts'
import { ropeTables } from './rope.ts'

/** ONNX Runtime's operator: grouped-query attention with rotary positions and the KV cache. */
export const ATTENTION = 'GroupQueryAttention'

export class AttentionWriter {
  readonly #graph: GraphWriter
  readonly #weights: Weights
  readonly #config: ModelConfig
  /**
   * Whether the scores' 1/sqrt(headDim) is in the rotary tables, half of it in those of q and half in those of k: a CPU's
   * product of one row with many, which attention is made of, is much faster where nothing else is to be multiplied.
   */
  readonly #scalesTables: boolean

  private constructor(graph: GraphWriter, weights: Weights, config: ModelConfig, scalesTables: boolean) {
    this.#graph = graph
    this.#weights = weights
    this.#config = config
    this.#scalesTables = scalesTables
  }

  /** Writes the rotary tables, for so many `positions`. */
  static async create(
    graph: GraphWriter,
    weights: Weights,
    config: ModelConfig,
    { positions, scalesTables }: { readonly positions: number; readonly scalesTables: boolean },
  ): Promise<AttentionWriter> {
    const { cos, sin } = ropeTables(config, positions, scalesTables ? config.headDim ** -0.25 : 1)
    await graph.floats('rope_cos', [positions, config.headDim / 2], cos)
    await graph.floats('rope_sin', [positions, config.headDim / 2], sin)
    return new AttentionWriter(graph, weights, config, scalesTables)
  }

  /** qkv [B, T, (heads + 2 kvHeads) * headDim] -> [B, T, heads * headDim], writing K and V into the cache in place. */
  async write(layer: number, qkv: string): Promise<string> {
    const [graph, config] = [this.#graph, this.#config]
    const cache = ['B', config.kvHeads, 'S', config.headDim]
    const [pastK, pastV, presentK, presentV] = ['past_k', 'past_v', 'present_k', 'present_v'].map(
      (n) => `${n}.${layer}`,
    )
    for (const name of [pastK!, pastV!]) graph.input(name, graph.floatType, cache)
    for (const name of [presentK!, presentV!]) graph.outputs.push({ name, type: graph.floatType, dims: cache })
    const window = config.attentionWindows[layer]
    const rotary = config.ropeLayers[layer] === true
    const query = config.qkNorm ? await this.#normHeads(layer, qkv) : [qkv, '', '']
    const inputs = [...query, pastK!, pastV!, 'seqlens_k', 'total_length', ...(rotary ? ['rope_cos', 'rope_sin'] : [])]
    const attributes = {
      num_heads: config.heads,
      kv_num_heads: config.kvHeads,
      do_rotary: rotary ? 1 : 0,
      ...(rotary && this.#scalesTables ? { scale: { float: 1 } } : {}),
      ...(window === undefined ? {} : { local_window_size: window }),
    }
    const outputs = [`l${layer}.attended`, presentK!, presentV!]
    graph.nodes.push({ op: ATTENTION, domain: MICROSOFT, inputs, outputs, attributes })
    return outputs[0]!
  }

  /** Qwen3: RMS norm of each head's q and k, before the rotary positions. */
  async #normHeads(layer: number, qkv: string): Promise<string[]> {
    const graph = this.#graph
    const { heads, kvHeads, headDim, rmsNormEps } = this.#config
    const sizes = [heads * headDim, kvHeads * headDim, kvHeads * headDim]
    const parts = ['q', 'k', 'v'].map((part) => `l${layer}.${part}`)
    const inputs = [qkv, graph.shape(`l${layer}.qkv_sizes`, sizes)]
    graph.nodes.push({ op: 'Split', domain: '', inputs, outputs: parts, attributes: { axis: -1 } })
    const normed: string[] = []
    for (const [i, part] of ['q', 'k'].entries()) {
      const name = `l${layer}.${part}`
      // 0 keeps a dimension, -1 is what remains.
      const perHead = graph.shape(`${name}.heads`, [0, 0, -1, headDim])
      const flat = graph.shape(`${name}.flat`, [0, 0, sizes[i]!])
      const split = graph.node('Reshape', [name, perHead], `${name}.split`)
      const headNorm = { path: `model.layers.${layer}.self_attn.${part}_norm`, size: headDim, epsilon: rmsNormEps }
      const scaled = await norm(graph, this.#weights, headNorm, split, `${name}.scaled`)
      normed.push(graph.node('Reshape', [scaled, flat], `${name}.normed`))
    }
    // Nothing moves, but without a known shape of v ONNX Runtime takes q for q, k and v in one.
    const value = graph.shape(`l${layer}.v.flat`, [0, 0, sizes[2]!])
    return [...normed, graph.node('Reshape', [parts[2]!, value], `l${layer}.v.shaped`)]
  }
}
