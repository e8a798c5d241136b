// Builds the ONNX graph of a Llama-family model in which every projection also takes a LoRA delta as an input.
// One graph serves prefill and decode, alone or in a batch; it knows nothing of which delta is whose.
// Invariant: a row's result depends on that row and its delta alone, so an answer is the same alone or in a crowd.
import { DeltaWriter, type DeltaWriterOptions } from './delta-writer.ts'
import { formatOf, inColumns, MICROSOFT, type Rounded } from './linear.ts'
import type { ModelConfig } from './model-config.ts'
import type { Weights } from './model-source.ts'
import { DATA_TYPE, type OnnxGraph } from './onnx-file.ts'
import { type ProjectionGroup, projectionGroups, type Smoothing } from './projection-groups.ts'
import { ropeTables } from './rope.ts'

/** The external data file that a built graph names. */
export const WEIGHTS_FILE = 'weights.bin'

export interface GraphOptions extends DeltaWriterOptions {
  /** Positions that the graph knows, which limit a row's tokens. */
  readonly positions: number
  /** For weights in columns. */
  readonly smoothing?: Smoothing | undefined
}

/** The projection groups of the graph that is built with `options`, as it takes their deltas. */
export function groupsFor(
  config: ModelConfig,
  { format, target, smoothing }: Pick<GraphOptions, 'format' | 'target' | 'smoothing'>,
): ProjectionGroup[] {
  return projectionGroups(config).map((group) => {
    if (!inColumns(formatOf(group.name, format), target, group.in)) return group
    return { ...group, smoothing: smoothing?.get(group.name) ?? new Float32Array(group.in).fill(1) }
  })
}

/** The shape [B, T, what remains]. */
const ROWS = 'rows'

/**
 * The graph, with its constants written through `write` in the order of their offsets.
 *
 * Inputs (B rows, T tokens a row, S context, N positions to sample):
 *   input_ids [B, T] i32; seqlens_k [B] i32: tokens of each row after this step, minus 1; total_length [] i32: the largest
 *   of them; sample_positions [N] i32: which of the T tokens get logits; embedding_delta f32, broadcast to [B, T, hidden];
 *   and, of the format's float type, past_k.<layer>, past_v.<layer> [B, kvHeads, S, headDim] and A, B of every part
 *   of `groupsFor`, A in bytes where it says so.
 * Outputs: logits [B, N, vocab] f32 and peaks [B, N], the largest of each; hidden [B, T, hidden] f32 after the final
 *   norm; present_k/present_v like the past, to be bound to the same memory; where it is observed, <group>.energy [in] of
 *   every group: the sum of squares of each channel of its input.
 */
export async function buildGraph(
  config: ModelConfig,
  weights: Weights,
  options: GraphOptions,
  write: (bytes: Uint8Array) => Promise<void>,
): Promise<OnnxGraph> {
  const builder = new GraphBuilder(weights, options, write)
  await builder.build(config, groupsFor(config, options), options.positions)
  return builder
}

class GraphBuilder extends DeltaWriter {
  readonly #weights: Weights

  constructor(weights: Weights, options: GraphOptions, write: (bytes: Uint8Array) => Promise<void>) {
    super(options, write)
    this.#weights = weights
  }

  /**
   * Whether the scores' 1/sqrt(headDim) is in the rotary tables, half of it in those of q and half in those of k: a CPU's
   * product of one row with many, which attention is made of, is much faster where nothing else is to be multiplied.
   */
  get #scalesTables(): boolean {
    return this.target === 'cpu'
  }

  async build(config: ModelConfig, groups: readonly ProjectionGroup[], positions: number): Promise<void> {
    const { hiddenSize, vocabSize } = config
    this.input('input_ids', 'i32', ['B', 'T'])
    this.input('seqlens_k', 'i32', ['B'])
    this.input('total_length', 'i32', [])
    this.input('sample_positions', 'i32', ['N'])
    this.input('embedding_delta', 'f32')

    const embedding = await this.#weights.load('model.embed_tokens.weight', [vocabSize, hiddenSize])
    await this.floats('embedding', [vocabSize, hiddenSize], embedding)
    const { cos, sin } = ropeTables(config, positions, this.#scalesTables ? config.headDim ** -0.25 : 1)
    await this.floats('rope_cos', [positions, config.headDim / 2], cos)
    await this.floats('rope_sin', [positions, config.headDim / 2], sin)

    this.rowsOf('input_ids', ROWS)

    const embedded = this.node('Gather', ['embedding', 'input_ids'], 'embedded')
    const change =
      this.floatType === 'f32'
        ? 'embedding_delta'
        : this.node('Cast', ['embedding_delta'], 'embedding_change', { to: DATA_TYPE[this.floatType] })
    let residual = this.node('Add', [embedded, change], 'x')
    let normed = this.node(
      'SimplifiedLayerNormalization',
      [residual, await this.#norm('model.layers.0.input_layernorm', hiddenSize, groups[0])],
      'l0.normed',
      { axis: -1, epsilon: { float: config.rmsNormEps }, stash_type: 1 },
    )
    for (let layer = 0; layer < config.layers; layer++) {
      const [qkv, o, gateUp, down] = groups.slice(layer * 4, layer * 4 + 4) as [
        ProjectionGroup,
        ProjectionGroup,
        ProjectionGroup,
        ProjectionGroup,
      ]
      const attended = await this.#attention(config, layer, await this.#joined(normed, qkv, config.qkvBias))
      const [attentionOut] = await this.#apart(attended, o, config.outputBias)
      const afterAttention = `model.layers.${layer}.post_attention_layernorm`
      ;[normed, residual] = await this.#addAndNorm(config, attentionOut!, residual, afterAttention, gateUp)
      const [gate, up] = await this.#apart(normed, gateUp, config.mlpBias)
      const [mlpOut] = await this.#apart(this.#swiGlu(`l${layer}`, gate!, up!), down, config.mlpBias)
      const nextNorm = layer + 1 < config.layers ? `model.layers.${layer + 1}.input_layernorm` : 'model.norm'
      ;[normed, residual] = await this.#addAndNorm(config, mlpOut!, residual, nextNorm, groups[(layer + 1) * 4]!)
    }
    this.output(normed, 'hidden', ['B', 'T', hiddenSize])
    const sampled = this.node('Gather', [normed, 'sample_positions'], 'sampled', { axis: 1 })
    const head = groups.at(-1)!
    const headWeight = config.tiedEmbeddings
      ? embedding
      : await this.#weights.load('lm_head.weight', [vocabSize, hiddenSize])
    const input = await this.#inputOf(sampled, head)
    const base = await this.linear(input, headWeight, { name: head.name, group: head, out: vocabSize })
    const [headChange] = this.changes(sampled, input, head)
    const changes = this.inRows(headChange!, this.rowsOf(sampled, 'sampled_rows'), head.name)
    const sum = (output: string) => this.node('Add', [base, changes], output)
    // Where they are f32 already they are their own output: the largest tensor of all need not be copied.
    if (typeof input !== 'string') this.node('Mul', [sum(`${head.name}.sum`), input.largest], 'logits')
    else if (this.floatType === 'f32') sum('logits')
    else this.node('Cast', [sum(`${head.name}.y`)], 'logits', { to: DATA_TYPE.f32 })
    this.outputs.push({ name: 'logits', type: 'f32', dims: ['B', 'N', vocabSize] })
    this.node('ReduceMax', ['logits', this.shape('last_axis', [-1])], 'peaks', { keepdims: 0 })
    this.outputs.push({ name: 'peaks', type: 'f32', dims: ['B', 'N'] })
  }

  /** y = W x + B (A x), the parts of the group side by side. */
  async #joined(x: string, group: ProjectionGroup, bias: boolean): Promise<string> {
    const { name, parts } = group
    const out = parts.reduce((sum, part) => sum + part.out, 0)
    const weight = await this.#stack(parts.map((part) => [`${part.module}.weight`, [part.out, group.in]]))
    const biases = bias ? await this.#stack(parts.map((part) => [`${part.module}.bias`, [part.out]])) : undefined
    const input = await this.#inputOf(x, group)
    const base = await this.linear(input, weight, { name, group, out })
    const change = this.node('Concat', this.changes(x, input, group), `${name}.changes`, { axis: -1 })
    return this.#sum(input, base, change, biases, name)
  }

  /** The same, each part by itself. */
  async #apart(x: string, group: ProjectionGroup, bias: boolean): Promise<string[]> {
    const input = await this.#inputOf(x, group)
    const changes = this.changes(x, input, group)
    const outputs: string[] = []
    for (const [i, { module, out }] of group.parts.entries()) {
      const name = group.parts.length === 1 ? group.name : `${group.name}${i}`
      const weight = await this.#weights.load(`${module}.weight`, [out, group.in])
      const values = bias ? await this.#weights.load(`${module}.bias`, [out]) : undefined
      const base = await this.linear(input, weight, { name, group, out })
      outputs.push(await this.#sum(input, base, changes[i]!, values, name))
    }
    return outputs
  }

  /** The group's input as its products take it. */
  async #inputOf(x: string, { name, smoothing, afterNorm }: ProjectionGroup): Promise<string | Rounded> {
    if (!smoothing) return x
    if (afterNorm) return this.round(x, name)
    const factors = await this.floats(`${name}.smoothing`, [smoothing.length], smoothing)
    return this.round(this.node('Mul', [x, factors], `${name}.smooth`), name)
  }

  /** y = base + change + bias; of a rounded input the first two are in its units. */
  async #sum(
    input: string | Rounded,
    base: string,
    change: string,
    bias: Float32Array | undefined,
    name: string,
  ): Promise<string> {
    const sum = this.node('Add', [base, this.inRows(change, ROWS, name)], `${name}.sum`)
    const y = typeof input === 'string' ? sum : this.node('Mul', [sum, input.largest], `${name}.y`)
    if (!bias) return y
    return this.node('Add', [y, await this.floats(`${name}.bias`, [bias.length], bias)], `${name}.biased`)
  }

  /** qkv [B, T, (heads + 2 kvHeads) * headDim] -> [B, T, heads * headDim], writing K and V into the cache in place. */
  async #attention(config: ModelConfig, layer: number, qkv: string): Promise<string> {
    const cache = ['B', config.kvHeads, 'S', config.headDim]
    const [pastK, pastV, presentK, presentV] = ['past_k', 'past_v', 'present_k', 'present_v'].map(
      (n) => `${n}.${layer}`,
    )
    for (const name of [pastK!, pastV!]) this.input(name, this.floatType, cache)
    for (const name of [presentK!, presentV!]) this.outputs.push({ name, type: this.floatType, dims: cache })
    const window = config.attentionWindows[layer]
    const rotary = config.ropeLayers[layer] === true
    const query = config.qkNorm ? await this.#normHeads(config, layer, qkv) : [qkv, '', '']
    const inputs = [...query, pastK!, pastV!, 'seqlens_k', 'total_length', ...(rotary ? ['rope_cos', 'rope_sin'] : [])]
    const attributes = {
      num_heads: config.heads,
      kv_num_heads: config.kvHeads,
      do_rotary: rotary ? 1 : 0,
      ...(rotary && this.#scalesTables ? { scale: { float: 1 } } : {}),
      ...(window === undefined ? {} : { local_window_size: window }),
    }
    const outputs = [`l${layer}.attended`, presentK!, presentV!]
    this.nodes.push({ op: 'GroupQueryAttention', domain: MICROSOFT, inputs, outputs, attributes })
    return outputs[0]!
  }

  /** Qwen3: RMS norm of each head's q and k, before the rotary positions. */
  async #normHeads(config: ModelConfig, layer: number, qkv: string): Promise<string[]> {
    const { heads, kvHeads, headDim } = config
    const sizes = [heads * headDim, kvHeads * headDim, kvHeads * headDim]
    const splits = this.shape(`l${layer}.qkv_sizes`, sizes)
    const parts = ['q', 'k', 'v'].map((part) => `l${layer}.${part}`)
    this.nodes.push({
      op: 'Split',
      domain: '',
      inputs: [qkv, splits],
      outputs: parts,
      attributes: { axis: -1 },
    })
    const normed: string[] = []
    for (const [i, part] of ['q', 'k'].entries()) {
      const name = `l${layer}.${part}`
      // 0 keeps a dimension, -1 is what remains.
      const perHead = this.shape(`${name}.heads`, [0, 0, -1, headDim])
      const flat = this.shape(`${name}.flat`, [0, 0, sizes[i]!])
      const split = this.node('Reshape', [name, perHead], `${name}.split`)
      const scale = await this.#norm(`model.layers.${layer}.self_attn.${part}_norm`, headDim)
      const epsilon = { float: config.rmsNormEps }
      const scaled = this.node('SimplifiedLayerNormalization', [split, scale], `${name}.scaled`, {
        axis: -1,
        epsilon,
        stash_type: 1,
      })
      normed.push(this.node('Reshape', [scaled, flat], `${name}.normed`))
    }
    // Nothing moves, but without a known shape of v ONNX Runtime takes q for q, k and v in one.
    const value = this.shape(`l${layer}.v.flat`, [0, 0, sizes[2]!])
    return [...normed, this.node('Reshape', [parts[2]!, value], `l${layer}.v.shaped`)]
  }

  #swiGlu(name: string, gate: string, up: string): string {
    const sigmoid = this.node('Sigmoid', [gate], `${name}.sigmoid`)
    const silu = this.node('Mul', [gate, sigmoid], `${name}.silu`)
    return this.node('Mul', [silu, up], `${name}.swiglu`)
  }

  /** [norm(x + residual), x + residual], the norm as the group `reader` reads it. */
  async #addAndNorm(
    config: ModelConfig,
    x: string,
    residual: string,
    norm: string,
    reader: ProjectionGroup,
  ): Promise<[string, string]> {
    const [normed, sum] = [`${norm}.normed`, `${norm}.sum`]
    this.nodes.push({
      op: 'SkipSimplifiedLayerNormalization',
      domain: MICROSOFT,
      inputs: [x, residual, await this.#norm(norm, config.hiddenSize, reader)],
      outputs: [normed, '', '', sum],
      attributes: { epsilon: { float: config.rmsNormEps } },
    })
    return [normed, sum]
  }

  /** The norm's weights, with what the channels of `reader` are smoothed by where nothing else reads it. */
  async #norm(path: string, size: number, reader?: ProjectionGroup): Promise<string> {
    const weight = await this.#weights.load(`${path}.weight`, [size])
    const smoothing = reader?.afterNorm ? reader.smoothing : undefined
    const values = smoothing ? weight.map((value, channel) => value * smoothing[channel]!) : weight
    return this.floats(`${path}.weight`, [size], values)
  }

  /** Tensors of equal inner size, one after another. */
  async #stack(tensors: readonly (readonly [string, readonly number[]])[]): Promise<Float32Array> {
    const loaded: Float32Array[] = []
    for (const [name, shape] of tensors) loaded.push(await this.#weights.load(name, shape))
    if (loaded.length === 1) return loaded[0]!
    const stacked = new Float32Array(loaded.reduce((sum, values) => sum + values.length, 0))
    let offset = 0
    for (const values of loaded) {
      stacked.set(values, offset)
      offset += values.length
    }
    return stacked
  }
}
