// A graph without the inputs for deltas that change more than a scope has.
import { type DeltaScope, hasScope, inputScope } from './delta-scope.ts'
import type { Node, OnnxGraph } from './onnx-file.ts'
import { whatIsRead } from './what-is-read.ts'

/**
 * `graph`, as `buildGraph` makes it, with deltas of `scope` alone: what other changes are added to is the sum. The constants are
 * those of `graph`, and its results have the bits that `graph` gives rows without such a change.
 */
export function withoutDeltas(graph: OnnxGraph, scope: DeltaScope): OnnxGraph {
  const left = graph.inputs.filter(({ name }) => !hasScope(scope, inputScope(name) ?? 'nothing'))
  const changes = new Set(left.map(({ name }) => name))
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
