// Writes an ONNX model: the protobuf messages of onnx.proto that the graph builder needs, and no others.
// Weights are not in the message: an initializer names its place in one external data file, which ONNX Runtime maps.
// It knows nothing of what the nodes mean.
import protobuf from 'protobufjs/minimal.js'

/** The domain of ONNX Runtime's own operators. */
export const MICROSOFT = 'com.microsoft'

/** onnx.proto's TensorProto.DataType, whose numbers ONNX Runtime's C API shares. */
export const DATA_TYPE = { f32: 1, u8: 2, i8: 3, i32: 6, i64: 7, bool: 9, f16: 10 } as const
export type DataType = keyof typeof DATA_TYPE

/** A number stands for an integer attribute; floats are marked, since 1.0 and 1 look the same. */
export type Attribute = number | { readonly float: number } | readonly number[]

export interface Node {
  readonly op: string
  readonly domain: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly attributes: Readonly<Record<string, Attribute>>
}

/** A graph input or output; a string dimension is a symbol. Without `dims` any rank is accepted. */
export interface GraphValue {
  readonly name: string
  readonly type: DataType
  readonly dims?: readonly (number | string)[]
}

/** A constant: `bytes` of the external data file from `offset` on, or the few bytes of `inline`, which shape inference can read. */
export type Initializer = {
  readonly name: string
  readonly type: DataType
  readonly dims: readonly number[]
} & ({ readonly offset: number; readonly bytes: number } | { readonly inline: Uint8Array })

/** One whose bytes are in the data file. */
export type StoredInitializer = Extract<Initializer, { readonly offset: number }>

/** Sizes that an operator takes as an input: in the message itself, since ONNX Runtime infers shapes from them at load. */
export function inlineSizes(name: string, sizes: readonly number[]): Initializer {
  const inline = new Uint8Array(BigInt64Array.from(sizes, BigInt).buffer)
  return { name, type: 'i64', dims: [sizes.length], inline }
}

/** The sizes that `inlineSizes` wrote. */
export function sizesOf(inline: Uint8Array): number[] {
  return Array.from(new BigInt64Array(inline.slice().buffer), Number)
}

export interface OnnxGraph {
  readonly nodes: readonly Node[]
  readonly inputs: readonly GraphValue[]
  readonly outputs: readonly GraphValue[]
  readonly initializers: readonly Initializer[]
}

const IR_VERSION = 9
const OPSETS = [
  { domain: '', version: 18 },
  { domain: MICROSOFT, version: 1 },
]
const ATTRIBUTE_TYPE = { float: 1, int: 2, ints: 7 } as const
const EXTERNAL = 1

type Writer = protobuf.Writer

/** The ModelProto of `graph`; initializers that are not inline are in the file named `dataFile` beside it. */
export function encodeModel(graph: OnnxGraph, dataFile = ''): Uint8Array {
  const model = protobuf.Writer.create()
  model.uint32(tag(1, 0)).int64(IR_VERSION)
  text(model, 2, 'polylora')
  message(model, 7, (writer) => writeGraph(writer, graph, dataFile))
  for (const { domain, version } of OPSETS) {
    message(model, 8, (opset) => {
      text(opset, 1, domain)
      opset.uint32(tag(2, 0)).int64(version)
    })
  }
  return model.finish()
}

function writeGraph(writer: Writer, graph: OnnxGraph, dataFile: string): void {
  for (const node of graph.nodes) message(writer, 1, (inner) => writeNode(inner, node))
  text(writer, 2, 'llama')
  for (const initializer of graph.initializers) {
    message(writer, 5, (inner) => writeInitializer(inner, initializer, dataFile))
  }
  for (const input of graph.inputs) message(writer, 11, (inner) => writeValue(inner, input))
  for (const output of graph.outputs) message(writer, 12, (inner) => writeValue(inner, output))
}

function writeNode(writer: Writer, node: Node): void {
  for (const input of node.inputs) text(writer, 1, input)
  for (const output of node.outputs) text(writer, 2, output)
  text(writer, 3, `${node.op}:${node.outputs.find((name) => name !== '')}`)
  text(writer, 4, node.op)
  for (const [name, value] of Object.entries(node.attributes)) {
    message(writer, 5, (inner) => writeAttribute(inner, name, value))
  }
  text(writer, 7, node.domain)
}

function writeAttribute(writer: Writer, name: string, value: Attribute): void {
  text(writer, 1, name)
  if (typeof value === 'number') {
    writer.uint32(tag(3, 0)).int64(value)
    writer.uint32(tag(20, 0)).int32(ATTRIBUTE_TYPE.int)
  } else if ('float' in value) {
    writer.uint32(tag(2, 5)).float(value.float)
    writer.uint32(tag(20, 0)).int32(ATTRIBUTE_TYPE.float)
  } else {
    for (const item of value) writer.uint32(tag(8, 0)).int64(item)
    writer.uint32(tag(20, 0)).int32(ATTRIBUTE_TYPE.ints)
  }
}

function writeInitializer(writer: Writer, initializer: Initializer, dataFile: string): void {
  for (const dim of initializer.dims) writer.uint32(tag(1, 0)).int64(dim)
  writer.uint32(tag(2, 0)).int32(DATA_TYPE[initializer.type])
  text(writer, 8, initializer.name)
  if ('inline' in initializer) {
    writer.uint32(tag(9, 2)).bytes(initializer.inline)
    return
  }
  const place = { location: dataFile, offset: String(initializer.offset), length: String(initializer.bytes) }
  for (const [key, value] of Object.entries(place)) {
    message(writer, 13, (entry) => {
      text(entry, 1, key)
      text(entry, 2, value)
    })
  }
  writer.uint32(tag(14, 0)).int32(EXTERNAL)
}

function writeValue(writer: Writer, value: GraphValue): void {
  text(writer, 1, value.name)
  message(writer, 2, (type) =>
    message(type, 1, (tensor) => {
      tensor.uint32(tag(1, 0)).int32(DATA_TYPE[value.type])
      const { dims } = value
      if (!dims) return
      message(tensor, 2, (shape) => {
        for (const dim of dims) {
          message(shape, 1, (inner) => {
            if (typeof dim === 'number') inner.uint32(tag(1, 0)).int64(dim)
            else text(inner, 2, dim)
          })
        }
      })
    }),
  )
}

/** Wire types: 0 varint, 2 length-delimited, 5 four bytes. */
function tag(field: number, wireType: 0 | 2 | 5): number {
  return (field << 3) | wireType
}

function text(writer: Writer, field: number, value: string): void {
  writer.uint32(tag(field, 2)).string(value)
}

function message(writer: Writer, field: number, write: (inner: Writer) => void): void {
  write(writer.uint32(tag(field, 2)).fork())
  writer.ldelim()
}
