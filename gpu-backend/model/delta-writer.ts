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
  /** Those of `#apart` that are in the graph. */
  readonly #shapes = new Set<string>()

  /** `linears` multiply in bytes what is in bytes. */
  constructor(graph: GraphWriter, linears: LinearWriter, options: DeltaOptions) {
    this.#graph = graph
    this.#linears = linears
    this.#options = options
    this.#turned = options.target === 'webgpu'
  }

  /**
   * B (A x) [B, T, out]. `input`: x [B, T, in] as A's product takes it. What comes of A of several projections is multiplied
   * with each block of B. `rows`: the name of the shape [B, T, what remains], see `GraphWriter.rowsOf`.
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
    const low = this.#low(source, group)
    const b = factorName(group, 'B')
    graph.input(b, graph.floatType)
    const product = this.#product(several ? this.#forBlocks(low, x, group) : low, b, `${name}.product`)
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

  /** For each block of outputs what `low` has of its projection: [B, blocks, T, rank], where x is turned [B, blocks, rank, T]. */
  #forBlocks(low: string, x: string, group: ProjectionGroup): string {
    const graph = this.#graph
    const { name, projections } = group
    const apart = graph.node('Reshape', [low, this.#apart(x, projections.length)], `${name}.apart`)
    const lows = this.#turned ? apart : graph.node('Transpose', [apart], `${name}.lows`, { perm: [0, 2, 1, 3] })
    const { of } = outputBlocks(group)
    if (of.length === projections.length) return lows
    return graph.node('Gather', [lows, graph.shape(`${name}.of`, of)], `${name}.blocks`, { axis: 1 })
  }

  /** The shape that has what A gives for each of so many projections apart, the same for all groups with as many. */
  #apart(x: string, projections: number): string {
    const graph = this.#graph
    const shape = `apart${projections}`
    if (this.#shapes.has(shape)) return shape
    this.#shapes.add(shape)
    if (!this.#turned) return graph.rowsOf(x, shape, [projections, -1])
    const tokens = graph.node('Shape', [x], `${shape}.tokens`, { start: 1, end: 2 })
    return graph.node('Concat', [graph.shape(`${shape}.rest`, [0, projections, -1]), tokens], shape, { axis: 0 })
  }

  /** x Fᵀ; where x is turned, F x. */
  #product(x: string, factor: string, output: string): string {
    if (this.#turned) return this.#graph.node('MatMul', [factor, x], output)
    return this.#graph.node('FusedMatMul', [x, factor], output, { transB: 1 }, MICROSOFT)
  }
}
