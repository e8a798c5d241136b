// A graph without the inputs for deltas, for steps in which no row has one: the operators that a delta takes cost time even
// where it changes nothing.
import { isFactor } from './delta-factors.ts'
import type { Node, OnnxGraph } from './onnx-file.ts'

/**
 * `graph`, as `buildGraph` makes it, without deltas: what their changes are added to is the sum. The constants are those of
 * `graph`, and its results have the bits that `graph` gives rows without a delta.
 */
export function withoutDeltas(graph: OnnxGraph): OnnxGraph {
  const names = graph.inputs.map(({ name }) => name)
  const changes = new Set(names.filter((name) => name === 'embedding_delta' || isFactor(name)))
  /** What a sum is once nothing is added: by what it was added to. */
  const sums = new Map<string, string>()
  const kept: Node[] = []
  for (const node of graph.nodes) {
    const others = node.inputs.filter((input) => !changes.has(input))
    if (others.length === node.inputs.length) kept.push(node)
    else if (node.op === 'Add' && others.length === 1) sums.set(others[0]!, node.outputs[0]!)
    else for (const output of node.outputs) changes.add(output)
  }
  const nodes = kept.map((node) => ({ ...node, outputs: node.outputs.map((output) => sums.get(output) ?? output) }))
  return {
    ...graph,
    nodes: whatIsRead(nodes, graph.outputs),
    inputs: graph.inputs.filter(({ name }) => !changes.has(name)),
  }
}

/** Of `nodes`, each after those that it reads, the ones that `outputs` depend on. */
function whatIsRead(nodes: readonly Node[], outputs: OnnxGraph['outputs']): Node[] {
  const read = new Set(outputs.map(({ name }) => name))
  const kept = nodes.toReversed().filter((node) => {
    if (!node.outputs.some((output) => read.has(output))) return false
    for (const input of node.inputs) read.add(input)
    return true
  })
  return kept.reverse()
}
