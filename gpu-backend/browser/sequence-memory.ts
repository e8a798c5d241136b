// Where the tensors of a session lie between runs: in JavaScript's memory, or in the GPU's.
// Knows rows of numbers, not what they mean. One sequence at a time.
import type { Tensor } from 'onnxruntime-web'
import type { ModelDimensions } from '../model/projection-groups.ts'

export type Runtime = typeof import('onnxruntime-web')

export interface SequenceMemory {
  /** K and V of each layer alternating, as the graph's inputs: [1, kvHeads, tokens, headDim] f32 */
  readonly past: readonly Tensor[]
  /** Where the graph writes them; undefined: wherever the runtime likes. */
  readonly present: readonly Tensor[] | undefined
  /** Takes what a run wrote as the next one's past. */
  keep(present: readonly Tensor[]): void
  /** Forgets the sequence. */
  restart(): void
  /** A tensor that many runs read, until it is freed. */
  place(values: Float32Array, dims: readonly number[]): Tensor
  free(tensor: Tensor): void
}

/** In JavaScript's memory: the runtime copies in and out, so the cache is as long as the sequence and no longer. */
export class HostMemory implements SequenceMemory {
  past: readonly Tensor[]
  readonly present = undefined
  readonly #runtime: Runtime
  readonly #empty: readonly Tensor[]

  constructor(runtime: Runtime, { layers, kvHeads, headDim }: ModelDimensions) {
    this.#runtime = runtime
    const none = () => new runtime.Tensor('float32', new Float32Array(0), [1, kvHeads, 0, headDim])
    this.#empty = Array.from({ length: 2 * layers }, none)
    this.past = this.#empty
  }

  keep(present: readonly Tensor[]): void {
    this.past = present
  }

  restart(): void {
    this.past = this.#empty
  }

  place(values: Float32Array, dims: readonly number[]): Tensor {
    return new this.#runtime.Tensor('float32', values, dims)
  }

  free(): void {}
}

/** A global of browsers that TypeScript's library for workers lacks. */
declare const GPUBufferUsage: { readonly STORAGE: number; readonly COPY_SRC: number; readonly COPY_DST: number }

/** The GPU binds vectors of four values. */
const ALIGNMENT_BYTES = 16

/** In the GPU's buffers: the cache is read and written in place, and nothing but tokens and logits crosses over. */
export class GpuMemory implements SequenceMemory {
  readonly past: readonly Tensor[]
  readonly #runtime: Runtime
  readonly #device: GPUDevice
  readonly #buffers = new Map<Tensor, GPUBuffer>()

  constructor(
    runtime: Runtime,
    device: GPUDevice,
    { layers, kvHeads, headDim }: ModelDimensions,
    contextTokens: number,
  ) {
    this.#runtime = runtime
    this.#device = device
    const dims = [1, kvHeads, contextTokens, headDim]
    this.past = Array.from({ length: 2 * layers }, () => this.#allocate(dims))
  }

  get present(): readonly Tensor[] {
    return this.past
  }

  keep(): void {}

  // What lies behind the sequence's length is never read.
  restart(): void {}

  place(values: Float32Array, dims: readonly number[]): Tensor {
    const tensor = this.#allocate(dims)
    this.#device.queue.writeBuffer(this.#buffers.get(tensor)!, 0, values.buffer, values.byteOffset, values.byteLength)
    return tensor
  }

  free(tensor: Tensor): void {
    this.#buffers.get(tensor)?.destroy()
    this.#buffers.delete(tensor)
  }

  #allocate(dims: readonly number[]): Tensor {
    const bytes = dims.reduce((product, dim) => product * dim, Float32Array.BYTES_PER_ELEMENT)
    const size = Math.ceil(bytes / ALIGNMENT_BYTES) * ALIGNMENT_BYTES
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST
    const buffer = this.#device.createBuffer({ size, usage })
    const tensor = this.#runtime.Tensor.fromGpuBuffer(buffer, { dataType: 'float32', dims })
    this.#buffers.set(tensor, buffer)
    return tensor
  }
}
