import type { Node, OnnxGraph } from './onnx-file.ts'

/** Of `nodes`, each after those that it reads, the ones that `outputs` depend on. */
export function whatIsRead(nodes: readonly Node[], outputs: OnnxGraph['outputs']): Node[] {
  const read = new Set(outputs.map(({ name }) => name))
  const kept = nodes.toReversed().filter((node) => {
    if (!node.outputs.some((output) => read.has(output))) return false
    for (const input of node.inputs) read.add(input)
    return true
  })
  return kept.reverse()
}
