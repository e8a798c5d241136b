// A graph without the inputs for deltas, for steps in which no row has one: the operators that a delta takes cost time even
// where it changes nothing.
import type { Node, OnnxGraph } from './onnx-file.ts'

const DELTA_INPUT = /^embedding_delta$|\.(A|A_scales|B)\d+$/

/**
 * `graph`, as `buildGraph` makes it, without deltas: what their changes are added to is the sum. The constants are those of
 * `graph`, and its results have the bits that `graph` gives rows without a delta.
 */
export function withoutDeltas(graph: OnnxGraph): OnnxGraph {
  const changes = new Set(graph.inputs.map(({ name }) => name).filter((name) => DELTA_INPUT.test(name)))
  /** What a sum is once nothing is added: by what it was added to. */
  const sums = new Map<string, string>()
  const kept: Node[] = []
  for (const node of graph.nodes) {
    const others = node.inputs.filter((input) => !changes.has(input))
    if (others.length === node.inputs.length) kept.push(node)
    else if (node.op === 'Add' && others.length === 1) sums.set(others[0]!, node.outputs[0]!)
    else for (const output of node.outputs) changes.add(output)
  }
  return {
    ...graph,
    nodes: kept.map((node) => ({ ...node, outputs: node.outputs.map((output) => sums.get(output) ?? output) })),
    inputs: graph.inputs.filter(({ name }) => !changes.has(name)),
  }
}
