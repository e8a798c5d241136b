// An ONNX graph as it is put together: nodes, inputs, outputs, and constants that are written to the data file at once.
// Knows nothing of what the nodes mean. Invariant: constants lie in the file in the order in which they were made, aligned.
import {
  type Attribute,
  DATA_TYPE,
  type DataType,
  type GraphValue,
  type Initializer,
  inlineSizes,
  type Node,
  type OnnxGraph,
} from './onnx-file.ts'
import type { FloatType } from './weight-formats.ts'

/** External data starts on these boundaries so that it can be mapped as it is. */
const ALIGNMENT = 4096

export class GraphWriter implements OnnxGraph {
  readonly nodes: Node[] = []
  readonly inputs: GraphValue[] = []
  readonly outputs: GraphValue[] = []
  readonly initializers: Initializer[] = []
  readonly floatType: FloatType
  readonly #write: (bytes: Uint8Array) => Promise<void>
  #offset = 0

  /** `write` is given the data file's bytes from its start on. */
  constructor(floatType: FloatType, write: (bytes: Uint8Array) => Promise<void>) {
    this.floatType = floatType
    this.#write = write
  }

  input(name: string, type: DataType, dims?: readonly (number | string)[]): void {
    this.inputs.push(dims ? { name, type, dims } : { name, type })
  }

  /** One operator with one output, whose name is returned. */
  node(op: string, inputs: string[], output: string, attributes: Record<string, Attribute> = {}, domain = ''): string {
    this.nodes.push({ op, domain, inputs, outputs: [output], attributes })
    return output
  }

  /** `value` as an output of type f32 with this name. */
  output(value: string, name: string, dims: readonly (number | string)[]): string {
    if (this.floatType === 'f32') this.node('Identity', [value], name)
    else this.node('Cast', [value], name, { to: DATA_TYPE.f32 })
    this.outputs.push({ name, type: 'f32', dims })
    return name
  }

  /** Sizes that an operator takes as an input. */
  shape(name: string, sizes: readonly number[]): string {
    this.initializers.push(inlineSizes(name, sizes))
    return name
  }

  /** The shape [rows of x, tokens of x, ..rest]. */
  rowsOf(x: string, shape: string, rest: readonly number[] = [-1]): string {
    const rows = this.node('Shape', [x], `${shape}.sizes`, { start: 0, end: 2 })
    return this.node('Concat', [rows, this.shape(`${shape}.rest`, rest)], shape, { axis: 0 })
  }

  /** A constant of the graph's own float type. */
  floats(name: string, dims: readonly number[], values: Float32Array): Promise<string> {
    return this.constant(name, this.floatType, dims, this.floatType === 'f32' ? values : new Float16Array(values))
  }

  async constant(
    name: string,
    type: DataType,
    dims: readonly number[],
    values: Float32Array | Float16Array | Uint8Array,
  ): Promise<string> {
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
    const padding = (ALIGNMENT - (this.#offset % ALIGNMENT)) % ALIGNMENT
    if (padding > 0) await this.#write(new Uint8Array(padding))
    this.#offset += padding
    this.initializers.push({ name, type, dims, offset: this.#offset, bytes: bytes.byteLength })
    await this.#write(bytes)
    this.#offset += bytes.byteLength
    return name
  }
}
