// A group of projections with its deltas, as the graph computes it: y = W x + B (A x) + bias.
// Knows neither what lies between the groups nor whose delta it is. Invariant: a row's y depends on that row and its delta alone.
import { type DeltaOptions, DeltaWriter } from './delta-writer.ts'
import type { GraphWriter } from './graph-writer.ts'
import { type LinearOptions, LinearWriter, type Rounded } from './linear.ts'
import type { Weights } from './model-source.ts'
import { DATA_TYPE } from './onnx-file.ts'
import { type ProjectionGroup, timesFactors } from './projection-groups.ts'

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

  /** y [B, T, out] of x [B, T, in]: the parts of the group side by side. */
  async joined(x: string, group: ProjectionGroup, bias: boolean): Promise<string> {
    const { name, parts } = group
    const out = parts.reduce((sum, part) => sum + part.out, 0)
    const weight = await this.#stack(parts.map((part) => [`${part.module}.weight`, [part.out, group.in]]))
    const biases = bias ? await this.#stack(parts.map((part) => [`${part.module}.bias`, [part.out]])) : undefined
    const input = await this.#inputOf(x, group)
    const base = await this.#linears.write(input, weight, { name, group, out })
    const change = this.#graph.node('Concat', this.#deltas.changes(x, input, group), `${name}.changes`, { axis: -1 })
    return this.#sum(input, base, change, biases, name)
  }

  /** The same, each part by itself. */
  async apart(x: string, group: ProjectionGroup, bias: boolean): Promise<string[]> {
    const input = await this.#inputOf(x, group)
    const changes = this.#deltas.changes(x, input, group)
    const outputs: string[] = []
    for (const [i, { module, out, factors }] of group.parts.entries()) {
      const name = group.parts.length === 1 ? group.name : `${group.name}${i}`
      const weight = timesFactors(await this.#weights.load(`${module}.weight`, [out, group.in]), factors)
      const values = bias ? timesFactors(await this.#weights.load(`${module}.bias`, [out]), factors) : undefined
      const base = await this.#linears.write(input, weight, { name, group, out })
      outputs.push(await this.#sum(input, base, changes[i]!, values, name))
    }
    return outputs
  }

  /** `output` f32 [B, N, vocab] of x [B, N, hidden], through the head's weights [vocab, hidden]. */
  async head(x: string, group: ProjectionGroup, weight: Float32Array, output: string): Promise<void> {
    const graph = this.#graph
    const { name, parts } = group
    const input = await this.#inputOf(x, group)
    const base = await this.#linears.write(input, weight, { name, group, out: parts[0]!.out })
    const [change] = this.#deltas.changes(x, input, group)
    const changes = this.#deltas.inRows(change!, graph.rowsOf(x, 'sampled_rows'), name)
    const sum = (output: string) => graph.node('Add', [base, changes], output)
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

  /** y = base + change + bias; of a rounded input the first two are in its units. */
  async #sum(
    input: string | Rounded,
    base: string,
    change: string,
    bias: Float32Array | undefined,
    name: string,
  ): Promise<string> {
    const graph = this.#graph
    const sum = graph.node('Add', [base, this.#deltas.inRows(change, this.#rows, name)], `${name}.sum`)
    const y = typeof input === 'string' ? sum : graph.node('Mul', [sum, input.largest], `${name}.y`)
    if (!bias) return y
    return graph.node('Add', [y, await graph.floats(`${name}.bias`, [bias.length], bias)], `${name}.biased`)
  }

  /** Tensors of equal inner size, one after another. */
  async #stack(tensors: readonly (readonly [string, readonly number[]])[]): Promise<Float32Array> {
    const loaded: Float32Array[] = []
    for (const [name, shape] of tensors) loaded.push(await this.#weights.load(name, shape))
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
