// Builds the ONNX graph of a Llama-family model in which every projection also takes a LoRA delta as an input.
// One graph serves prefill and decode, alone or in a batch; it knows nothing of which delta is whose.
// Invariant: a row's result depends on that row and its delta alone, so an answer is the same alone or in a crowd.
import { AttentionWriter } from './attention.ts'
import { EMBEDDING_DELTA } from './delta-scope.ts'
import type { DeltaOptions } from './delta-writer.ts'
import { GraphWriter } from './graph-writer.ts'
import { formatOf, inColumns, type LinearOptions } from './linear.ts'
import type { ModelConfig } from './model-config.ts'
import type { Weights } from './model-source.ts'
import { addAndNorm, norm } from './norm.ts'
import { DATA_TYPE, type OnnxGraph } from './onnx-file.ts'
import { type ProjectionGroup, projectionGroups, type Smoothing, withSmoothing } from './projection-groups.ts'
import { ProjectionWriter } from './projection-writer.ts'
import { floatTypeOf } from './weight-formats.ts'

/** The external data file that a built graph names. */
export const WEIGHTS_FILE = 'weights.bin'

export interface GraphOptions extends LinearOptions, DeltaOptions {
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
  return withSmoothing(projectionGroups(config), (group) => {
    if (!inColumns(formatOf(group.name, format), target, group.in)) return undefined
    return smoothing?.get(group.name) ?? new Float32Array(group.in).fill(1)
  })
}

/** What a step says of its tokens. */
const TOKENS = [
  { name: 'input_ids', dims: ['B', 'T'] },
  { name: 'seqlens_k', dims: ['B'] },
  { name: 'total_length', dims: [] },
  { name: 'sample_positions', dims: ['N'] },
]

type Five<T> = [T, T, T, T, T]

/**
 * The graph, with its constants written through `write` in the order of their offsets. `onLayer` is called after each layer.
 *
 * Inputs (B rows, T tokens a row, S context, N positions to sample):
 *   input_ids [B, T] i32; seqlens_k [B] i32: tokens of each row after this step, minus 1; total_length [] i32: the largest
 *   of them; sample_positions [N] i32: which of the T tokens get logits; embedding_delta f32, broadcast to [B, T, hidden];
 *   and, of the format's float type, past_k.<layer>, past_v.<layer> [B, kvHeads, S, headDim] and A, B of
 *   `groupsFor`, A in bytes where it says so.
 * Outputs: logits [B, N, vocab] f32 and peaks [B, N], the largest of each; hidden [B, T, hidden] f32 after the final
 *   norm; present_k/present_v like the past, to be bound to the same memory; where it is observed, <group>.energy [in] of
 *   every group: the sum of squares of each channel of its input.
 */
export async function buildGraph(
  config: ModelConfig,
  weights: Weights,
  options: GraphOptions,
  write: (bytes: Uint8Array) => Promise<void>,
  onLayer: () => void = () => undefined,
): Promise<OnnxGraph> {
  const { hiddenSize, vocabSize, rmsNormEps: epsilon } = config
  const groups = groupsFor(config, options)
  const graph = new GraphWriter(floatTypeOf(options.format), write)
  for (const { name, dims } of TOKENS) graph.input(name, 'i32', dims)
  graph.input(EMBEDDING_DELTA, 'f32')

  const embedding = await weights.load('model.embed_tokens.weight', [vocabSize, hiddenSize])
  await graph.floats('embedding', [vocabSize, hiddenSize], embedding)
  const { positions, target } = options
  const attention = await AttentionWriter.create(graph, weights, config, { positions, scalesTables: target === 'cpu' })
  const projections = new ProjectionWriter(graph, weights, options, graph.rowsOf('input_ids', 'rows'))

  let residual = embed(graph)
  const size = hiddenSize
  const firstNorm = { path: 'model.layers.0.input_layernorm', size, epsilon, reader: groups[0]! }
  let normed = await norm(graph, weights, firstNorm, residual, 'l0.normed')
  for (let layer = 0; layer < config.layers; layer++) {
    const [qkv, o, gateUp, down, next] = groups.slice(layer * 4, layer * 4 + 5) as Five<ProjectionGroup>
    const path = `model.layers.${layer}`
    const attended = await attention.write(layer, await projections.write(normed, qkv, config.qkvBias))
    const attentionOut = await projections.write(attended, o, config.outputBias)
    const mlpNorm = { path: `${path}.post_attention_layernorm`, size, epsilon, reader: gateUp }
    ;[normed, residual] = await addAndNorm(graph, weights, mlpNorm, attentionOut, residual)
    const activated = swiGlu(graph, `l${layer}`, await projections.write(normed, gateUp, config.mlpBias))
    const mlpOut = await projections.write(activated, down, config.mlpBias)
    const isLast = layer + 1 === config.layers
    const nextPath = isLast ? 'model.norm' : `model.layers.${layer + 1}.input_layernorm`
    const nextNorm = { path: nextPath, size, epsilon, reader: next }
    ;[normed, residual] = await addAndNorm(graph, weights, nextNorm, mlpOut, residual)
    onLayer()
  }

  graph.output(normed, 'hidden', ['B', 'T', hiddenSize])
  const sampled = graph.node('Gather', [normed, 'sample_positions'], 'sampled', { axis: 1 })
  const tied = config.tiedEmbeddings
  const headWeight = tied ? embedding : await weights.load('lm_head.weight', [vocabSize, hiddenSize])
  await projections.head(sampled, groups.at(-1)!, headWeight, 'logits')
  graph.outputs.push({ name: 'logits', type: 'f32', dims: ['B', 'N', vocabSize] })
  graph.node('ReduceMax', ['logits', graph.shape('last_axis', [-1])], 'peaks', { keepdims: 0 })
  graph.outputs.push({ name: 'peaks', type: 'f32', dims: ['B', 'N'] })
  return graph
}

/** The embeddings of the tokens, with what each token's delta adds to its own. */
function embed(graph: GraphWriter): string {
  const embedded = graph.node('Gather', ['embedding', 'input_ids'], 'embedded')
  const change =
    graph.floatType === 'f32'
      ? EMBEDDING_DELTA
      : graph.node('Cast', [EMBEDDING_DELTA], 'embedding_change', { to: DATA_TYPE[graph.floatType] })
  return graph.node('Add', [embedded, change], 'x')
}

/** silu(gate) up of `gateUp` [.., 2 size], which are side by side there. */
function swiGlu(graph: GraphWriter, name: string, gateUp: string): string {
  const [gate, up] = [`${name}.gate`, `${name}.up`]
  const halves = { axis: -1, num_outputs: 2 }
  graph.nodes.push({ op: 'Split', domain: '', inputs: [gateUp], outputs: [gate, up], attributes: halves })
  const sigmoid = graph.node('Sigmoid', [gate], `${name}.sigmoid`)
  const silu = graph.node('Mul', [gate, sigmoid], `${name}.silu`)
  return graph.node('Mul', [silu, up], `${name}.swiglu`)
}
