// How a LoRA delta is written into the graph: B (A x) beside a projection, with A and B as inputs, for every target.
// Knows neither which projections there are nor whose delta it is. Invariant: a row's change depends on that row alone.
import { factorName } from './delta-factors.ts'
import type { GraphWriter } from './graph-writer.ts'
import type { GraphTarget, LinearWriter, Rounded } from './linear.ts'
import { MICROSOFT } from './onnx-file.ts'
import { outputBlocks, type Part, type ProjectionGroup } from './projection-groups.ts'

export interface DeltaOptions {
  readonly target: GraphTarget
  /** Whether the graph also has `energy` outputs, by which `calibrate` finds the smoothing. */
  readonly observed?: boolean
}

export class DeltaWriter {
  readonly #graph: GraphWriter
  readonly #linears: LinearWriter
  readonly #options: DeltaOptions
  /** WebGPU's provider has no product that transposes its second input: it takes x in columns, so that A and B are read as they lie. */
  readonly #turned: boolean

  /** `linears` multiply in bytes what is in bytes. */
  constructor(graph: GraphWriter, linears: LinearWriter, options: DeltaOptions) {
    this.#graph = graph
    this.#linears = linears
    this.#options = options
    this.#turned = options.target === 'webgpu'
  }

  /** B (A x) of each part, in the shape `rows`: [B, T, what remains]. `input`: x [B, T, in] as A's product takes it. */
  changes(x: string, input: string | Rounded, group: ProjectionGroup, rows: string): string[] {
    const graph = this.#graph
    const { name, in: inSize, parts } = group
    if (this.#options.observed) {
      graph.node('ReduceSumSquare', [x, graph.shape(`${name}.rows`, [0, 1])], `${name}.energy`, { keepdims: 0 })
      graph.outputs.push({ name: `${name}.energy`, type: graph.floatType, dims: [inSize] })
    }
    for (const i of parts.keys()) {
      graph.input(factorName(group, 'A', i), typeof input === 'string' ? graph.floatType : 'u8')
      if (typeof input !== 'string') graph.input(factorName(group, 'A_scales', i), 'f32')
      graph.input(factorName(group, 'B', i), graph.floatType)
    }
    const source = this.#turned ? graph.node('Transpose', [x], `${name}.columns`, { perm: [0, 2, 1] }) : input
    return parts.map((_, i) => this.#change(source, group, i, rows))
  }

  /** Of several projections: one product of x with each's A, one of what comes of it with each block of B. */
  #change(x: string | Rounded, group: ProjectionGroup, i: number, rows: string): string {
    const graph = this.#graph
    const { name, parts } = group
    const part = parts[i]!
    const several = part.projections.length > 1
    const low = this.#low(several ? this.#forEach(x, `${name}.each${i}`) : x, group, i)
    const lows = several ? this.#forBlocks(low, part, `${name}.lows${i}`) : low
    const product = this.#product(lows, factorName(group, 'B', i), `${name}.product${i}`)
    const turn = (perm: number[]) => graph.node('Transpose', [product], `${name}.tokens${i}`, { perm })
    if (this.#turned && !several) return turn([0, 2, 1])
    const tokens = several ? turn(this.#turned ? [0, 3, 1, 2] : [0, 2, 1, 3]) : product
    // A and B may have dimensions of 1 in front, more than x has.
    return graph.node('Reshape', [tokens, rows], `${name}.change${i}`)
  }

  /** A x */
  #low(x: string | Rounded, group: ProjectionGroup, i: number): string {
    const [a, output] = [factorName(group, 'A', i), `${group.name}.low${i}`]
    if (typeof x === 'string') return this.#product(x, a, output)
    return this.#linears.integerProduct(x, a, factorName(group, 'A_scales', i), output)
  }

  /** `x` with a dimension after that of rows, which stands for the projections. */
  #forEach(x: string | Rounded, output: string): string | Rounded {
    const unsqueeze = (value: string) =>
      this.#graph.node('Unsqueeze', [value, this.#graph.shape(`${output}.axis`, [1])], output)
    return typeof x === 'string' ? unsqueeze(x) : { ...x, units: unsqueeze(x.units) }
  }

  /** For each block of outputs what `low` has of its projection. */
  #forBlocks(low: string, part: Part, output: string): string {
    const { of } = outputBlocks(part)
    if (of.length === part.projections.length) return low
    return this.#graph.node('Gather', [low, this.#graph.shape(`${output}.of`, of)], output, { axis: 1 })
  }

  /** x Fᵀ; where x is turned, F x. */
  #product(x: string, factor: string, output: string): string {
    if (this.#turned) return this.#graph.node('MatMul', [factor, x], output)
    return this.#graph.node('FusedMatMul', [x, factor], output, { transB: 1 }, MICROSOFT)
  }
}
