// How a LoRA delta is written into the graph: B (A x) beside a projection, with A and B as inputs, for every target.
// Knows neither which projections there are nor whose delta it is. Invariant: a row's change depends on that row alone.
import { factorName } from './delta-factors.ts'
import type { GraphWriter } from './graph-writer.ts'
import type { GraphTarget, LinearWriter, Rounded } from './linear.ts'
import { MICROSOFT } from './onnx-file.ts'
import { outputBlocks, type ProjectionGroup } from './projection-groups.ts'

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

  /**
   * B (A x) in the shape `rows`: [B, T, what remains]. `input`: x [B, T, in] as A's product takes it. Of several projections
   * there is one product of x with each's A, and one of what comes of it with each block of B.
   */
  change(x: string, input: string | Rounded, group: ProjectionGroup, rows: string): string {
    const graph = this.#graph
    const { name, in: inSize } = group
    if (this.#options.observed) {
      graph.node('ReduceSumSquare', [x, graph.shape(`${name}.rows`, [0, 1])], `${name}.energy`, { keepdims: 0 })
      graph.outputs.push({ name: `${name}.energy`, type: graph.floatType, dims: [inSize] })
    }
    const turn = (value: string, perm: number[], output: string) => graph.node('Transpose', [value], output, { perm })
    const source = this.#turned ? turn(x, [0, 2, 1], `${name}.columns`) : input
    const several = group.projections.length > 1
    const low = this.#low(several ? this.#forEach(source, name) : source, group)
    graph.input(factorName(group, 'B'), graph.floatType)
    const product = this.#product(
      several ? this.#forBlocks(low, group) : low,
      factorName(group, 'B'),
      `${name}.product`,
    )
    if (this.#turned && !several) return turn(product, [0, 2, 1], `${name}.change`)
    const perm = this.#turned ? [0, 3, 1, 2] : [0, 2, 1, 3]
    const tokens = several ? turn(product, perm, `${name}.tokens`) : product
    // A and B may have dimensions of 1 in front, more than x has.
    return graph.node('Reshape', [tokens, rows], `${name}.change`)
  }

  /** A x */
  #low(x: string | Rounded, group: ProjectionGroup): string {
    const graph = this.#graph
    const [a, scales, output] = [factorName(group, 'A'), factorName(group, 'A_scales'), `${group.name}.low`]
    graph.input(a, typeof x === 'string' ? graph.floatType : 'u8')
    if (typeof x === 'string') return this.#product(x, a, output)
    graph.input(scales, 'f32')
    return this.#linears.integerProduct(x, a, scales, output)
  }

  /** `x` with a dimension after that of rows, which stands for the projections. */
  #forEach(x: string | Rounded, name: string): string | Rounded {
    const axis = this.#graph.shape(`${name}.axis`, [1])
    const unsqueeze = (value: string) => this.#graph.node('Unsqueeze', [value, axis], `${name}.each`)
    return typeof x === 'string' ? unsqueeze(x) : { ...x, units: unsqueeze(x.units) }
  }

  /** For each block of outputs what `low` has of its projection. */
  #forBlocks(low: string, group: ProjectionGroup): string {
    const { of } = outputBlocks(group)
    if (of.length === group.projections.length) return low
    const blocks = this.#graph.shape(`${group.name}.blocks`, of)
    return this.#graph.node('Gather', [low, blocks], `${group.name}.lows`, { axis: 1 })
  }

  /** x Fᵀ; where x is turned, F x. */
  #product(x: string, factor: string, output: string): string {
    if (this.#turned) return this.#graph.node('MatMul', [factor, x], output)
    return this.#graph.node('FusedMatMul', [x, factor], output, { transB: 1 }, MICROSOFT)
  }
}
