// That variants give the same bits is seen where graphs run, in test/gpu-backend/engine/onnx/runner.test.ts.
import { describe, expect, test } from 'vitest'
import { EMBEDDED_MODEL } from '../../../gpu-backend/config.ts'
import { DELTA_SCOPES, type DeltaScope, hasScope, inputScope } from '../../../gpu-backend/model/delta-scope.ts'
import { buildGraph } from '../../../gpu-backend/model/graph.ts'
import { oneToken } from '../../../gpu-backend/model/one-token.ts'
import type { OnnxGraph } from '../../../gpu-backend/model/onnx-file.ts'
import { openModelSource } from '../../../gpu-backend/model/open-model.ts'
import { packedWeights } from '../../../gpu-backend/model/tokens-in-turn.ts'
import { withoutDeltas } from '../../../gpu-backend/model/without-deltas.ts'

/** Every operator reads what is given before it, and something reads each. */
function expectWhole({ nodes, inputs, outputs, initializers }: OnnxGraph): void {
  const given = new Set(['', ...[...inputs, ...initializers].map(({ name }) => name)])
  for (const node of nodes) {
    expect(node.inputs.filter((input) => !given.has(input))).toEqual([])
    for (const output of node.outputs) given.add(output)
  }
  const read = new Set([...nodes.flatMap((node) => node.inputs), ...outputs.map(({ name }) => name)])
  expect(nodes.filter((node) => !node.outputs.some((output) => read.has(output)))).toEqual([])
}

describe.each(['f32', 'int8', 'int4'] as const)('of a graph in %s', async (format) => {
  const source = await openModelSource(EMBEDDED_MODEL)
  const weights = await source.openWeights()
  const graph = await buildGraph(source.config, weights, { format, target: 'cpu', positions: 64 }, async () => {})
  await weights.close()
  const scopes = ({ inputs }: OnnxGraph) =>
    new Set(inputs.map(({ name }) => inputScope(name)).filter((scope) => scope !== undefined))

  test.each(DELTA_SCOPES)(
    'the one with deltas of %s takes those and no others, and has nothing that nobody reads',
    (scope) => {
      const narrower = withoutDeltas(graph, scope)
      const taken = DELTA_SCOPES.filter((one: DeltaScope) => one !== 'nothing' && hasScope(scope, one))
      expect(scopes(narrower)).toEqual(new Set(taken))
      expectWhole(narrower)
    },
  )

  test('the one for one token moves nothing, and has nothing that nobody reads', () => {
    const one = oneToken(graph)
    expect(graph.nodes.some(({ op }) => op === 'Transpose')).toBe(true)
    expect(one.nodes.filter(({ op }) => op === 'Transpose')).toEqual([])
    expect(one.inputs).toEqual(graph.inputs)
    expectWhole(one)
  })

  test('what is made of it shares nearly all of its constants, but for the embeddings, of which single rows are read', () => {
    const shared = new Set(packedWeights(graph).map(({ name }) => name))
    const bytes = (isCounted: (name: string) => boolean) =>
      graph.initializers.reduce((sum, one) => sum + ('offset' in one && isCounted(one.name) ? one.bytes : 0), 0)
    const others = bytes((name) => !shared.has(name) && name !== 'embedding')
    expect(others).toBeLessThan(bytes((name) => shared.has(name)) / 20)
  })
})
