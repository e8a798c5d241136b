// A CPU's graph for one token of each row. Where a delta's products tell projections or blocks apart from tokens, transposes
// bring one before the other: of a single token everything lies right already, and they copy it all the same.
import { inlineSizes, type Node, type OnnxGraph, sizesOf } from './onnx-file.ts'
import { whatIsRead } from './what-is-read.ts'

const ROWS = 'one_token.rows'

/** `graph`, as `buildGraph` makes it for a CPU, for input_ids [B, 1]. Its constants are those of `graph`, its results the same bits. */
export function oneToken(graph: OnnxGraph): OnnxGraph {
  const madeBy = new Map(graph.nodes.flatMap((node) => node.outputs.map((output) => [output, node])))
  const inline = new Map(graph.initializers.flatMap((one) => ('inline' in one ? [[one.name, one.inline]] : [])))
  const shapes = new Map<string, Node>()
  const initializers = [...graph.initializers]
  /** The shape [B, projections, 1, what remains] in place of `shape`, which is [B, T, projections, what remains]. */
  const turned = (shape: string): string => {
    const [name, rest] = [`${shape}.one_token`, `${shape}.one_token.rest`]
    if (shapes.has(name)) return name
    const [projections] = sizesOf(inline.get(madeBy.get(shape)!.inputs[1]!)!)
    initializers.push(inlineSizes(rest, [projections!, 1, -1]))
    shapes.set(name, { op: 'Concat', domain: '', inputs: [ROWS, rest], outputs: [name], attributes: { axis: 0 } })
    return name
  }
  /** By what a transpose made: what it was made of. */
  const unturned = new Map<string, string>()
  const nodes: Node[] = []
  for (const node of graph.nodes) {
    const source = node.op === 'Transpose' ? madeBy.get(node.inputs[0]!) : undefined
    if (source?.op === 'Reshape') {
      const [value, shape] = source.inputs as [string, string]
      nodes.push({ ...source, inputs: [value, turned(shape)], outputs: node.outputs })
    } else if (source) {
      // What reads it gives it a shape of its own.
      unturned.set(node.outputs[0]!, node.inputs[0]!)
    } else nodes.push({ ...node, inputs: node.inputs.map((input) => unturned.get(input) ?? input) })
  }
  const rows: Node = {
    op: 'Shape',
    domain: '',
    inputs: ['input_ids'],
    outputs: [ROWS],
    attributes: { start: 0, end: 1 },
  }
  return { ...graph, nodes: whatIsRead([rows, ...shapes.values(), ...nodes], graph.outputs), initializers }
}
