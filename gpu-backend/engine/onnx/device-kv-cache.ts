// The KV cache on a device: the buffers stay there, and a row is moved by a small graph of its own.
// A device tensor has no views, so a prompt is computed in buffers of one row and copied into the batch when it joins.
// Each copy goes into a spare buffer that takes the old one's place: a graph must not write what it reads.
import { encodeModel } from '../../model/onnx-file.ts'
import { type KvCache, type KvShape, type KvTensor, kvTensors } from './kv-cache.ts'
import type { Device, OnnxRuntime, Session } from './ort.ts'
import type { Binding, Value } from './ort-binding.ts'

export class DeviceKvCache implements KvCache {
  readonly #runtime: OnnxRuntime
  readonly #rows: number
  /** K and V of each layer alternating: [rows, kvHeads, contextTokens, headDim], device */
  readonly #batch: Value[]
  /** The same for the one prompt that is being computed: [1, kvHeads, contextTokens, headDim], device */
  readonly #prefill: readonly Value[]
  #spare: Value
  /** out = where(mask, row, batch) */
  readonly #insert: Session
  /** out = batch[rows] */
  readonly #reorder: Session
  readonly #onChange: () => void

  /** `session` owns the device's memory; `onChange` is called when the batch's tensors are others than before. */
  constructor(
    runtime: OnnxRuntime,
    session: Session,
    device: Exclude<Device, 'cpu'>,
    shape: KvShape,
    rows: number,
    onChange: () => void,
  ) {
    this.#runtime = runtime
    this.#rows = rows
    this.#onChange = onChange
    const buffer = (count: number) =>
      session.deviceTensor(shape.floatType, [count, shape.kvHeads, shape.contextTokens, shape.headDim])
    this.#batch = Array.from({ length: 2 * shape.layers }, () => buffer(rows))
    this.#prefill = Array.from({ length: 2 * shape.layers }, () => buffer(1))
    this.#spare = buffer(rows)
    const [insert, reorder] = [insertGraph(shape, rows), reorderGraph(shape, rows)]
    this.#insert = runtime.createSession(insert, device, 1)
    this.#reorder = runtime.createSession(reorder, device, 1)
  }

  batch(_first: number, rows: number): readonly KvTensor[] {
    if (rows !== this.#rows) throw new Error(`A device's batch always has ${this.#rows} rows.`)
    return kvTensors(this.#batch)
  }

  prefill(): readonly KvTensor[] {
    return kvTensors(this.#prefill)
  }

  join(_from: number, to: number): void {
    const mask = new Uint8Array(new ArrayBuffer(this.#rows))
    mask[to] = 1
    this.#replaceEach(
      this.#insert,
      this.#runtime.hostTensor(mask, 'bool', [this.#rows, 1, 1, 1]),
      'mask',
      (binding, i) => binding.input('row', this.#prefill[i]!),
    )
  }

  move(from: number, to: number): void {
    const order = new Int32Array(new ArrayBuffer(4 * this.#rows))
    for (let row = 0; row < this.#rows; row++) order[row] = row === to ? from : row
    this.#replaceEach(this.#reorder, this.#runtime.hostTensor(order, 'i32', [this.#rows]), 'rows', () => {})
  }

  release(): void {
    for (const value of [...this.#batch, ...this.#prefill, this.#spare]) value.release()
    this.#insert.release()
    this.#reorder.release()
  }

  /** Runs `graph` over every buffer of the batch, with `control` as its input `name`. */
  #replaceEach(graph: Session, control: Value, name: string, bind: (binding: Binding, index: number) => void): void {
    const binding = graph.createBinding()
    try {
      binding.input(name, control)
      for (const [i, buffer] of this.#batch.entries()) {
        bind(binding, i)
        binding.input('batch', buffer)
        binding.output('out', this.#spare)
        graph.run(binding)
        this.#batch[i] = this.#spare
        this.#spare = buffer
      }
    } finally {
      binding.release()
      control.release()
    }
    this.#onChange()
  }
}

function insertGraph(shape: KvShape, rows: number): Uint8Array {
  const [batch, row] = [rows, 1].map((count) => [count, shape.kvHeads, shape.contextTokens, shape.headDim])
  return encodeModel({
    nodes: [{ op: 'Where', domain: '', inputs: ['mask', 'row', 'batch'], outputs: ['out'], attributes: {} }],
    inputs: [
      { name: 'mask', type: 'bool', dims: [rows, 1, 1, 1] },
      { name: 'row', type: shape.floatType, dims: row! },
      { name: 'batch', type: shape.floatType, dims: batch! },
    ],
    outputs: [{ name: 'out', type: shape.floatType, dims: batch! }],
    initializers: [],
  })
}

function reorderGraph(shape: KvShape, rows: number): Uint8Array {
  const dims = [rows, shape.kvHeads, shape.contextTokens, shape.headDim]
  return encodeModel({
    nodes: [{ op: 'Gather', domain: '', inputs: ['batch', 'rows'], outputs: ['out'], attributes: { axis: 0 } }],
    inputs: [
      { name: 'rows', type: 'i32', dims: [rows] },
      { name: 'batch', type: shape.floatType, dims },
    ],
    outputs: [{ name: 'out', type: shape.floatType, dims }],
    initializers: [],
  })
}
