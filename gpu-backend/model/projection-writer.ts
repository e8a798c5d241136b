// A group of projections with its deltas, as the graph computes it: y = W x + B (A x) + bias.
// Knows neither what lies between the groups nor whose delta it is. Invariant: a row's y depends on that row and its delta alone.
import { type DeltaOptions, DeltaWriter } from './delta-writer.ts'
import type { GraphWriter } from './graph-writer.ts'
import { type LinearOptions, LinearWriter, type Rounded } from './linear.ts'
import type { Weights } from './model-source.ts'
import { DATA_TYPE } from './onnx-file.ts'
import { type Projection, type ProjectionGroup, timesFactors } from './projection-groups.ts'

export class ProjectionWriter {
  readonly #graph: GraphWriter
  readonly #weights: Weights
  readonly #linears: LinearWriter
  readonly #deltas: DeltaWriter
  readonly #rows: string

  /** `rows`: the shape [B, T, what remains]. */
  constructor(graph: GraphWriter, weights: Weights, options: LinearOptions & DeltaOptions, rows: string) {
    this.#graph = graph
    this.#weights = weights
    this.#linears = new LinearWriter(graph, options)
    this.#deltas = new DeltaWriter(graph, this.#linears, options)
    this.#rows = rows
  }

  /** y [B, T, out] of x [B, T, in] */
  async write(x: string, group: ProjectionGroup, bias: boolean): Promise<string> {
    const graph = this.#graph
    const { name, projections } = group
    const input = await this.#inputOf(x, group)
    const base = await this.#linears.write(input, await this.#load(projections, 'weight', [group.in]), group)
    const change = this.#deltas.change(x, input, group, this.#rows)
    const sum = graph.node('Add', [base, change], `${name}.sum`)
    const y = typeof input === 'string' ? sum : graph.node('Mul', [sum, input.largest], `${name}.y`)
    if (!bias) return y
    const values = await this.#load(projections, 'bias', [])
    return graph.node('Add', [y, await graph.floats(`${name}.bias`, [values.length], values)], `${name}.biased`)
  }

  /** `output` f32 [B, N, vocab] of x [B, N, hidden], through the head's weights [vocab, hidden]. */
  async head(x: string, group: ProjectionGroup, weight: Float32Array, output: string): Promise<void> {
    const graph = this.#graph
    const { name } = group
    const input = await this.#inputOf(x, group)
    const base = await this.#linears.write(input, weight, group)
    const change = this.#deltas.change(x, input, group, graph.rowsOf(x, 'sampled_rows'))
    const sum = (output: string) => graph.node('Add', [base, change], output)
    // Where they are f32 already they are their own output: the largest tensor of all need not be copied.
    if (typeof input !== 'string') graph.node('Mul', [sum(`${name}.sum`), input.largest], output)
    else if (graph.floatType === 'f32') sum(output)
    else graph.node('Cast', [sum(`${name}.y`)], output, { to: DATA_TYPE.f32 })
  }

  /** The group's input as its products take it. */
  async #inputOf(x: string, { name, smoothing, smoothedBy }: ProjectionGroup): Promise<string | Rounded> {
    if (!smoothing) return x
    if (smoothedBy) return this.#linears.round(x, name)
    const factors = await this.#graph.floats(`${name}.smoothing`, [smoothing.length], smoothing)
    return this.#linears.round(this.#graph.node('Mul', [x, factors], `${name}.smooth`), name)
  }

  /** The weights [out, in] or biases [out] of `projections`, one after another; `inner`: the dimensions after out. */
  async #load(
    projections: readonly Projection[],
    kind: 'weight' | 'bias',
    inner: readonly number[],
  ): Promise<Float32Array> {
    const loaded: Float32Array[] = []
    for (const { module, out, factors } of projections) {
      loaded.push(timesFactors(await this.#weights.load(`${module}.${kind}`, [out, ...inner]), factors))
    }
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
