// Root-mean-square norms, as the graph computes them.
import type { GraphWriter } from './graph-writer.ts'
import type { Weights } from './model-source.ts'
import { MICROSOFT } from './onnx-file.ts'
import { type ProjectionGroup, timesFactors } from './projection-groups.ts'

/** A norm's weights `<path>.weight` [size], and how much is added to the mean of squares. */
export interface Norm {
  readonly path: string
  readonly size: number
  readonly epsilon: number
  /** Where the norm is read by this group alone, its weights bring the group's smoothing. */
  readonly reader?: ProjectionGroup
}

/** `output` = x, of any shape, normed over its last dimension. */
export async function norm(
  graph: GraphWriter,
  weights: Weights,
  { epsilon, ...norm }: Norm,
  x: string,
  output: string,
): Promise<string> {
  const attributes = { axis: -1, epsilon: { float: epsilon }, stash_type: 1 }
  return graph.node('SimplifiedLayerNormalization', [x, await scale(graph, weights, norm)], output, attributes)
}

/** [norm(x + residual), x + residual]. */
export async function addAndNorm(
  graph: GraphWriter,
  weights: Weights,
  { epsilon, ...norm }: Norm,
  x: string,
  residual: string,
): Promise<[string, string]> {
  const [normed, sum] = [`${norm.path}.normed`, `${norm.path}.sum`]
  graph.nodes.push({
    op: 'SkipSimplifiedLayerNormalization',
    domain: MICROSOFT,
    inputs: [x, residual, await scale(graph, weights, norm)],
    outputs: [normed, '', '', sum],
    attributes: { epsilon: { float: epsilon } },
  })
  return [normed, sum]
}

async function scale(
  graph: GraphWriter,
  weights: Weights,
  { path, size, reader }: Omit<Norm, 'epsilon'>,
): Promise<string> {
  const weight = await weights.load(`${path}.weight`, [size])
  const smoothing = reader?.smoothedBy === 'norm' ? reader.smoothing : undefined
  return graph.floats(`${path}.weight`, [size], timesFactors(weight, smoothing))
}
