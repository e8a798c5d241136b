// How a projection of the base model is written into the graph: x Wᵀ with weights as floats, in blocks, or in columns.
// Knows no projection but the head, and no deltas. Invariant: a row's result depends on that row alone.
import type { GraphWriter } from './graph-writer.ts'
import { MICROSOFT } from './onnx-file.ts'
import { HEAD, type ProjectionGroup } from './projection-groups.ts'
import { quantizeBlocks, quantizeColumns, STEPS, ZERO } from './quantize.ts'
import type { WeightFormat } from './weight-formats.ts'

/** What a graph is built for: one of the backend's devices, or a browser without WebGPU. */
export type GraphTarget = 'cpu' | 'cuda' | 'webgpu' | 'wasm'

export interface LinearOptions {
  readonly format: WeightFormat
  readonly target: GraphTarget
  /** How weights in columns are written: `i8` where the CPU multiplies signed bytes without loss, see `multipliesSignedBytes`. */
  readonly columnType?: 'u8' | 'i8' | undefined
}

/** 4: activations are rounded to 8 bits row by row, which keeps rows independent and uses the integer instructions. */
const ACCURACY_LEVEL = 4
/** Sums of more products of two bytes than this could leave 32 bits. */
const LONGEST_INTEGER_SUM = 32768

/** What the weights of a group are written as. The head decides between tokens directly: four bits cost it more than they save. */
export function formatOf(group: string, format: WeightFormat): WeightFormat {
  return group === HEAD && format === 'int4' ? 'int8' : format
}

/** Whether a projection of this format and input size is multiplied in whole bytes. */
export function inColumns(format: WeightFormat, target: GraphTarget, inSize: number): boolean {
  return target === 'cpu' && format === 'int8' && inSize <= LONGEST_INTEGER_SUM
}

/** x in whole bytes, each row in units of the largest value that it had. */
export interface Rounded {
  readonly units: string
  readonly largest: string
}

/** Whether some of the graph's weights are in columns, which are rounded better with smoothing. */
export function hasColumns(format: WeightFormat, target: GraphTarget): boolean {
  return target === 'cpu' && (format === 'int8' || format === 'int4')
}

/** Writes the base's products of one graph. */
export class LinearWriter {
  readonly #graph: GraphWriter
  readonly #options: LinearOptions
  #hasSteps = false

  constructor(graph: GraphWriter, options: LinearOptions) {
    this.#graph = graph
    this.#options = options
  }

  /**
   * The name of y [.., out] = x [.., in] Wᵀ; `weight` is [out, in] as Hugging Face stores it. x is rounded, with the group's smoothing, where
   * `inColumns` says so; y is then in units of each row's largest value.
   */
  write(x: string | Rounded, weight: Float32Array, group: ProjectionGroup): Promise<string> {
    if (typeof x !== 'string') return this.#inUnits(x, weight, group)
    const { target, format } = this.#options
    if (format === 'f32' || format === 'f16') return this.#inFloats(x, weight, group)
    // In blocks of 32 a CPU sums one row in another order than several, and would round it otherwise.
    const block = target === 'cpu' ? 16 : 32
    // A projection whose input is no multiple of the block is not quantised; no model in common use has one.
    if (group.in % block !== 0) return this.#inFloats(x, weight, group)
    const bits = formatOf(group.name, format) === 'int8' ? 8 : 4
    return this.#inBlocks(x, weight, group, bits, block)
  }

  async #inFloats(x: string, weight: Float32Array, { name, in: inSize, out }: ProjectionGroup): Promise<string> {
    await this.#graph.floats(`${name}.weight`, [inSize, out], transpose(weight, out, inSize))
    return this.#graph.node('MatMul', [x, `${name}.weight`], `${name}.base`)
  }

  async #inBlocks(
    x: string,
    weight: Float32Array,
    { name, in: inSize, out }: ProjectionGroup,
    bits: 4 | 8,
    block: number,
  ): Promise<string> {
    const { values, scales } = quantizeBlocks(weight, bits, block)
    await this.#graph.constant(`${name}.weight`, 'u8', [out, inSize / block, (block * bits) / 8], values)
    await this.#graph.floats(`${name}.scales`, [scales.length], scales)
    return this.#graph.node(
      'MatMulNBits',
      [x, `${name}.weight`, `${name}.scales`],
      `${name}.base`,
      { K: inSize, N: out, bits, block_size: block, accuracy_level: ACCURACY_LEVEL },
      MICROSOFT,
    )
  }

  /**
   * Rows of x and columns of Wᵀ as whole bytes with a scale each (W8A8), so that the sums are of integers: exact in any
   * order, and on a CPU the fastest that ONNX Runtime has. Its own DynamicQuantizeMatMul has one scale for all rows.
   */
  async #inUnits(x: Rounded, weight: Float32Array, group: ProjectionGroup): Promise<string> {
    const { name, in: inSize, out, smoothing } = group
    const { columnType = 'u8' } = this.#options
    const { values, scales } = quantizeColumns(weight, inSize, smoothing, columnType)
    await this.#graph.constant(`${name}.weight`, columnType, [inSize, out], values)
    await this.#graph.floats(`${name}.scales`, [out], scales)
    return this.integerProduct(x, `${name}.weight`, `${name}.scales`, `${name}.units`, columnType)
  }

  /**
   * The group's input in bytes. Of a row of zeros the bytes are arbitrary, and count for nothing: they are times 0 in the end.
   * NaN and infinity would become ordinary bytes here, which is why deltas that could overflow are not taken (`checkChange`).
   */
  async round(x: string, group: string): Promise<Rounded> {
    if (!this.#hasSteps) {
      this.#hasSteps = true
      await this.#graph.floats('unit', [], Float32Array.of(1 / STEPS))
      await this.#graph.constant('zero', 'u8', [], Uint8Array.of(ZERO))
    }
    const sizes = this.#graph.node('Abs', [x], `${group}.sizes`)
    const largest = this.#graph.node(
      'ReduceMax',
      [sizes, this.#graph.shape(`${group}.channels`, [-1])],
      `${group}.largest`,
      {
        keepdims: 1,
      },
    )
    const shares = this.#graph.node('Div', [x, largest], `${group}.shares`)
    return { units: this.#graph.node('QuantizeLinear', [shares, 'unit', 'zero'], `${group}.bytes`), largest }
  }

  /** x times bytes [.., in, out] with a scale for each column [.., out], in units of each row's largest value. */
  integerProduct({ units }: Rounded, bytes: string, scales: string, output: string, type: 'u8' | 'i8' = 'u8'): string {
    // Signed bytes are around 0, which is what a zero point left out is.
    const inputs = [units, bytes, 'unit', scales, 'zero', ...(type === 'u8' ? ['zero'] : [])]
    return this.#graph.node('MatMulIntegerToFloat', inputs, output, {}, MICROSOFT)
  }
}

/** [rows, columns] -> [columns, rows], in tiles that stay in the cache. */
function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  const tile = 32
  const transposed = new Float32Array(values.length)
  for (let row = 0; row < rows; row += tile) {
    for (let column = 0; column < columns; column += tile) {
      const [rowEnd, columnEnd] = [Math.min(row + tile, rows), Math.min(column + tile, columns)]
      for (let r = row; r < rowEnd; r++) {
        for (let c = column; c < columnEnd; c++) transposed[c * rows + r] = values[r * columns + c]!
      }
    }
  }
  return transposed
}
