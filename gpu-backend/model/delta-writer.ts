// How a LoRA delta is written into the graph: B (A x) beside a projection, with A and B as inputs, for every target.
// Knows neither which projections there are nor whose delta it is. Invariant: a row's change depends on that row alone.
import { LinearWriter, type LinearWriterOptions, MICROSOFT, type Rounded } from './linear.ts'
import type { ProjectionGroup } from './projection-groups.ts'

export interface DeltaWriterOptions extends LinearWriterOptions {
  /** Whether the graph also has `energy` outputs, by which `calibrate` finds the smoothing. */
  readonly observed?: boolean
}

export class DeltaWriter extends LinearWriter {
  readonly #observed: boolean

  constructor(options: DeltaWriterOptions, write: (bytes: Uint8Array) => Promise<void>) {
    super(options, write)
    this.#observed = options.observed ?? false
  }

  /** B (A x) of each part: [.., T, out], with as many dimensions in front as A and B have. `input`: x as A's product takes it. */
  changes(x: string, input: string | Rounded, { name, in: inSize, parts }: ProjectionGroup): string[] {
    if (this.#observed) {
      this.node('ReduceSumSquare', [x, this.shape(`${name}.rows`, [0, 1])], `${name}.energy`, { keepdims: 0 })
      this.outputs.push({ name: `${name}.energy`, type: this.floatType, dims: [inSize] })
    }
    for (const i of parts.keys()) {
      this.input(`${name}.A${i}`, typeof input === 'string' ? this.floatType : 'u8')
      if (typeof input !== 'string') this.input(`${name}.A_scales${i}`, 'f32')
      this.input(`${name}.B${i}`, this.floatType)
    }
    // WebGPU's provider has no product that transposes its second input.
    if (this.target === 'webgpu') return this.#turnedChanges(x, name, parts.length)
    const product = (left: string, right: string, output: string) =>
      this.node('FusedMatMul', [left, right], output, { transB: 1 }, MICROSOFT)
    return Array.from(parts, (_, i) => {
      const low =
        typeof input === 'string'
          ? product(input, `${name}.A${i}`, `${name}.low${i}`)
          : this.integerProduct(input, `${name}.A${i}`, `${name}.A_scales${i}`, `${name}.low${i}`)
      return product(low, `${name}.B${i}`, `${name}.change${i}`)
    })
  }

  /** The same as (A xᵀ)ᵀ, with x turned once, as columns, and the result turned back: A, B are read as they lie. */
  #turnedChanges(x: string, name: string, parts: number): string[] {
    const turn = (value: string, output: string) => this.node('Transpose', [value], output, { perm: [0, 2, 1] })
    const columns = turn(x, `${name}.columns`)
    return Array.from({ length: parts }, (_, i) => {
      const low = this.node('MatMul', [`${name}.A${i}`, columns], `${name}.low${i}`)
      return turn(this.node('MatMul', [`${name}.B${i}`, low], `${name}.columns${i}`), `${name}.change${i}`)
    })
  }

  /** A change as [rows, tokens, out], which is what `rows` says, whatever dimensions A and B had in front. */
  inRows(change: string, rows: string, name: string): string {
    if (this.target === 'webgpu') return change
    return this.node('Reshape', [change, rows], `${name}.change`)
  }

  /** The shape [rows of x, tokens of x, what remains]. */
  rowsOf(x: string, shape: string): string {
    const rows = this.node('Shape', [x], `${shape}.sizes`, { start: 0, end: 2 })
    return this.node('Concat', [rows, this.shape(`${shape}.rest`, [-1])], shape, { axis: 0 })
  }
}
