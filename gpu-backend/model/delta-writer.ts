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
    this.input(`${name}.A`, typeof input === 'string' ? this.floatType : 'u8')
    if (typeof input !== 'string') this.input(`${name}.A_scales`, 'f32')
    for (const i of parts.keys()) this.input(`${name}.B${i}`, this.floatType)
    // WebGPU's provider has no product that transposes its second input.
    if (this.target === 'webgpu') return this.#turnedChanges(x, name, parts.length)
    const product = (left: string, right: string, output: string) =>
      this.node('FusedMatMul', [left, right], output, { transB: 1 }, MICROSOFT)
    const low =
      typeof input === 'string'
        ? product(input, `${name}.A`, `${name}.low`)
        : this.integerProduct(input, `${name}.A`, `${name}.A_scales`, `${name}.low`)
    const lows = parts.length === 1 ? [low] : this.split(low, `${name}.low`, parts.length, -1)
    return lows.map((part, i) => product(part, `${name}.B${i}`, `${name}.change${i}`))
  }

  /** The same as (A xᵀ)ᵀ, with x turned once, as columns, and the result turned back: A, B are read as they lie. */
  #turnedChanges(x: string, name: string, parts: number): string[] {
    const turn = (value: string, output: string) => this.node('Transpose', [value], output, { perm: [0, 2, 1] })
    const low = this.node('MatMul', [`${name}.A`, turn(x, `${name}.columns`)], `${name}.low`)
    const lows = parts === 1 ? [low] : this.split(low, `${name}.low`, parts, 1)
    return lows.map((part, i) => {
      const columns = this.node('MatMul', [`${name}.B${i}`, part], `${name}.columns${i}`)
      return turn(columns, `${name}.change${i}`)
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
