// How a LoRA delta is written into the graph: B (A x) beside a projection, with A and B as inputs, for every target.
// Knows neither which projections there are nor whose delta it is. Invariant: a row's change depends on that row alone.
import type { GraphWriter } from './graph-writer.ts'
import type { GraphTarget, LinearWriter, Rounded } from './linear.ts'
import { MICROSOFT } from './onnx-file.ts'
import type { ProjectionGroup } from './projection-groups.ts'

export interface DeltaOptions {
  readonly target: GraphTarget
  /** Whether the graph also has `energy` outputs, by which `calibrate` finds the smoothing. */
  readonly observed?: boolean
}

export class DeltaWriter {
  readonly #graph: GraphWriter
  readonly #linears: LinearWriter
  readonly #options: DeltaOptions

  /** `linears` multiply in bytes what is in bytes. */
  constructor(graph: GraphWriter, linears: LinearWriter, options: DeltaOptions) {
    this.#graph = graph
    this.#linears = linears
    this.#options = options
  }

  /** B (A x) of each part: [.., T, out], with as many dimensions in front as A and B have. `input`: x as A's product takes it. */
  changes(x: string, input: string | Rounded, { name, in: inSize, parts }: ProjectionGroup): string[] {
    const graph = this.#graph
    if (this.#options.observed) {
      graph.node('ReduceSumSquare', [x, graph.shape(`${name}.rows`, [0, 1])], `${name}.energy`, { keepdims: 0 })
      graph.outputs.push({ name: `${name}.energy`, type: graph.floatType, dims: [inSize] })
    }
    for (const i of parts.keys()) {
      graph.input(`${name}.A${i}`, typeof input === 'string' ? graph.floatType : 'u8')
      if (typeof input !== 'string') graph.input(`${name}.A_scales${i}`, 'f32')
      graph.input(`${name}.B${i}`, graph.floatType)
    }
    // WebGPU's provider has no product that transposes its second input.
    if (this.#options.target === 'webgpu') return this.#turnedChanges(x, name, parts.length)
    const product = (left: string, right: string, output: string) =>
      graph.node('FusedMatMul', [left, right], output, { transB: 1 }, MICROSOFT)
    return Array.from(parts, (_, i) => {
      const low =
        typeof input === 'string'
          ? product(input, `${name}.A${i}`, `${name}.low${i}`)
          : this.#linears.integerProduct(input, `${name}.A${i}`, `${name}.A_scales${i}`, `${name}.low${i}`)
      return product(low, `${name}.B${i}`, `${name}.change${i}`)
    })
  }

  /** The same as (A xᵀ)ᵀ, with x turned once, as columns, and the result turned back: A, B are read as they lie. */
  #turnedChanges(x: string, name: string, parts: number): string[] {
    const turn = (value: string, output: string) => this.#graph.node('Transpose', [value], output, { perm: [0, 2, 1] })
    const columns = turn(x, `${name}.columns`)
    return Array.from({ length: parts }, (_, i) => {
      const low = this.#graph.node('MatMul', [`${name}.A${i}`, columns], `${name}.low${i}`)
      return turn(this.#graph.node('MatMul', [`${name}.B${i}`, low], `${name}.columns${i}`), `${name}.change${i}`)
    })
  }

  /** A change as [rows, tokens, out], which is what `rows` says, whatever dimensions A and B had in front. */
  inRows(change: string, rows: string, name: string): string {
    if (this.#options.target === 'webgpu') return change
    return this.#graph.node('Reshape', [change, rows], `${name}.change`)
  }
}
