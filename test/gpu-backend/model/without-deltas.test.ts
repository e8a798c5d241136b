import { expect, test } from 'vitest'
import { EMBEDDED_MODEL } from '../../../gpu-backend/config.ts'
import { isFactor } from '../../../gpu-backend/model/delta-factors.ts'
import { buildGraph } from '../../../gpu-backend/model/graph.ts'
import { openModelSource } from '../../../gpu-backend/model/open-model.ts'
import type { WeightFormat } from '../../../gpu-backend/model/weight-formats.ts'
import { withoutDeltas } from '../../../gpu-backend/model/without-deltas.ts'

test.each(['f32', 'int8', 'int4'] satisfies WeightFormat[])(
  'a graph without deltas has no operator that reads one, and none that nobody reads (%s)',
  async (format) => {
    const source = await openModelSource(EMBEDDED_MODEL)
    const weights = await source.openWeights()
    const options = { format, target: 'cpu', positions: 64 } as const
    const graph = await buildGraph(source.config, weights, options, async () => {})
    await weights.close()
    const bare = withoutDeltas(graph)

    expect(bare.inputs.length).toBeGreaterThan(0)
    expect(graph.inputs.filter(({ name }) => isFactor(name)).length).toBeGreaterThan(0)
    expect(bare.inputs.filter(({ name }) => isFactor(name) || name === 'embedding_delta')).toEqual([])
    const given = new Set(['', ...[...bare.inputs, ...bare.initializers].map(({ name }) => name)])
    for (const { inputs, outputs } of bare.nodes) {
      expect(inputs.filter((input) => !given.has(input))).toEqual([])
      for (const output of outputs) given.add(output)
    }
    const read = new Set([...bare.nodes.flatMap(({ inputs }) => inputs), ...bare.outputs.map(({ name }) => name)])
    expect(bare.nodes.filter(({ outputs }) => !outputs.some((output) => read.has(output)))).toEqual([])
  },
)
