// ONNX Runtime as sessions, tensors and bindings, over its C API. Knows nothing of models, batches or adapters.
// Invariant: every native object made here is freed by its `release`.
// Why not `InferenceSession.run` of onnxruntime-node: it copies each output into new memory, the KV cache included.
import { DATA_TYPE, type DataType } from '../../model/onnx-file.ts'
import { type ApiFunctions, loadApi, OrtError, type Pointer } from './ort-api.ts'
import { Binding, createNative, type HostArray, Value } from './ort-binding.ts'
import type { SharedWeights } from './shared-weights.ts'

export type Device = 'cpu' | 'webgpu' | 'cuda'

/** Errors are thrown with their message; the library need not print them as well. */
const LOG_FATAL_ONLY = 4
const ALL_OPTIMIZATIONS = 99
/** They put a product's bias into it where nothing lies between the two, as in graphs without deltas alone: it rounds otherwise. */
const BIAS_FUSIONS = 'MatMulAddFusion;MatMulNBitsFusion'
/** OrtDeviceAllocator / OrtMemTypeDefault of the C API. */
const DEVICE_ALLOCATOR = 0
const DEFAULT_MEMORY = 0

const PROVIDER = {
  webgpu: { name: 'WebGPU', memory: 'WebGPU_Buf' },
  cuda: { name: 'Cuda', memory: 'Cuda' },
} as const

// Set where this file is first read, before another thread runs: ONNX Runtime reads the process's own environment, which a worker
// thread's is only a copy of.
// The CPU's attention with a table of scores: a step of several rows takes up to a third less time than with its tiles, which
// were made for long prompts (1.30).
process.env.ORT_GQA_DISABLE_FLASH_ATTENTION ??= '1'
// It tells its maker of every session, over the network, and keeps files in the user's cache and in TMPDIR (1.30).
process.env.ORT_DISABLE_TELEMETRY ??= '1'

/** Something of ONNX Runtime's own, to be freed once. */
export interface Native {
  readonly pointer: Pointer
  release(): void
}

/** The loaded library and its environment. One for a process or worker. */
export class OnnxRuntime {
  readonly #api: ApiFunctions
  readonly #env: Pointer
  readonly #cpuMemory: Pointer

  /** @throws OrtError when the library that onnxruntime-node ships cannot be loaded */
  constructor() {
    this.#api = loadApi()
    this.#env = this.#create('CreateEnv', LOG_FATAL_ONLY, 'polylora')
    this.#cpuMemory = this.#create('CreateCpuMemoryInfo', DEVICE_ALLOCATOR, DEFAULT_MEMORY)
  }

  /**
   * Loads `model`, a file's path or a whole model in memory, for `device`.
   * @throws OrtError when it is not a model, or the device's provider is not available here
   */
  createSession(model: string | Uint8Array, device: Device, threads: number): Session {
    const options = this.#createOptions(device, threads)
    try {
      const session =
        typeof model === 'string'
          ? this.#create('CreateSession', this.#env, model, options)
          : this.#create('CreateSessionFromArray', this.#env, model, model.byteLength, options)
      return new Session(this.#api, this.check, session, device === 'cpu' ? undefined : PROVIDER[device].memory)
    } finally {
      this.#api.ReleaseSessionOptions(options)
    }
  }

  /** Loads the model at `path` for the CPU, with `weights` that other sessions have as well. @throws OrtError as `createSession` */
  createSharingSession(path: string, threads: number, weights: SharedWeights): Session {
    const options = this.#createOptions('cpu', threads)
    try {
      const args = this.#sharingArguments(path, options, weights)
      return new Session(this.#api, this.check, this.#create('CreateSessionWithPackedWeights', ...args), undefined)
    } finally {
      this.#api.ReleaseSessionOptions(options)
    }
  }

  /** As `createSharingSession`, in another thread: this one goes on meanwhile, with other sessions, too. */
  async loadSharingSession(path: string, threads: number, weights: SharedWeights): Promise<Session> {
    const options = this.#createOptions('cpu', threads)
    try {
      const args = this.#sharingArguments(path, options, weights)
      const out: [Pointer] = [null]
      const status = await new Promise<unknown>((resolve, reject) => {
        const done = (error: unknown, result: unknown) => (error ? reject(error) : resolve(result))
        this.#api.CreateSessionWithPackedWeights.async(...args, out, done)
      })
      this.check(status)
      return new Session(this.#api, this.check, out[0], undefined)
    } finally {
      this.#api.ReleaseSessionOptions(options)
    }
  }

  /** Room for what sessions pack of the weights that they share. It must outlive them. */
  createPackedWeights(): Native {
    const pointer = this.#create('CreatePackedWeights')
    return { pointer, release: () => this.#api.ReleasePackedWeights(pointer) }
  }

  /** Options of a session, to be released. */
  #createOptions(device: Device, threads: number): Pointer {
    const options = this.#create('CreateSessionOptions')
    try {
      this.check(this.#api.SetIntraOpNumThreads(options, threads))
      this.check(this.#api.SetGraphOptimizationLevel(options, ALL_OPTIMIZATIONS))
      // Threads that wait for the next run would keep the server's own from a core.
      this.check(this.#api.AddSessionConfigEntry(options, 'session.force_spinning_stop', '1'))
      // Work in pieces that get smaller: a thread that must wait for a core then holds up less of an operator.
      this.check(this.#api.AddSessionConfigEntry(options, 'session.dynamic_block_base', '4'))
      if (device !== 'cpu') this.#appendProvider(options, device)
      return options
    } catch (error) {
      this.#api.ReleaseSessionOptions(options)
      throw error
    }
  }

  /** What `CreateSessionWithPackedWeights` takes, once `options` name the weights. */
  #sharingArguments(path: string, options: Pointer, { values, packed }: SharedWeights): unknown[] {
    for (const { name, value } of values) this.check(this.#api.AddInitializer(options, name, value.pointer))
    this.check(this.#api.AddSessionConfigEntry(options, 'optimization.disable_specified_optimizers', BIAS_FUSIONS))
    return [this.#env, path, options, packed.pointer]
  }

  /** A tensor over `data` itself, without a copy. `data` must outlive the value and must own or view an ArrayBuffer. */
  hostTensor(data: HostArray, type: DataType, dims: readonly number[]): Value {
    const size = dims.reduce((product, dim) => product * dim, 1)
    if (size !== data.length)
      throw new OrtError(`A tensor of shape [${dims}] needs ${size} elements, not ${data.length}.`)
    const pointer = this.#create(
      'CreateTensorWithData',
      this.#cpuMemory,
      data,
      data.byteLength,
      dims,
      dims.length,
      DATA_TYPE[type],
    )
    return new Value(this.#api, pointer, data)
  }

  /** A tensor over `bytes` bytes at `address`, which must outlive the value. */
  tensorAt(address: bigint, bytes: number, type: DataType, dims: readonly number[]): Value {
    const args = [this.#cpuMemory, address, bytes, dims, dims.length, DATA_TYPE[type]]
    return new Value(this.#api, this.#create('CreateTensorAt', ...args))
  }

  release(): void {
    this.#api.ReleaseMemoryInfo(this.#cpuMemory)
    this.#api.ReleaseEnv(this.#env)
  }

  #appendProvider(options: Pointer, device: 'webgpu' | 'cuda'): void {
    try {
      if (device === 'cuda') {
        const cuda = this.#create('CreateCudaOptions')
        try {
          // f32 means f32: by default the products of floats have 10 bits (TF32).
          this.check(this.#api.UpdateCudaOptions(cuda, ['use_tf32'], ['0'], 1))
          this.check(this.#api.AppendCudaV2(options, cuda))
        } finally {
          this.#api.ReleaseCudaOptions(cuda)
        }
      } else {
        this.check(this.#api.AppendExecutionProvider(options, PROVIDER[device].name, [], [], 0))
      }
    } catch (error) {
      // The library's message starts with its source line; what it says of the cause comes last.
      const lines = (error as Error).message.trim().split('\n')
      const cause = lines
        .at(-1)!
        .split(/(?:was false\.|\)&?|: FAIL :) /)
        .at(-1)!
      throw new OrtError(
        `The device "${device}" cannot be used here: ${cause.replace(/\.?$/, '.')} Choose another --device.`,
      )
    }
  }

  #create(name: keyof ApiFunctions, ...args: unknown[]): Pointer {
    return createNative(this.#api, this.check, name, args)
  }

  /** Frees the status that a call of the API has given. @throws OrtError with its message, unless it is none */
  readonly check = (status: unknown): void => {
    if (!status) return
    const message = String(this.#api.GetErrorMessage(status))
    this.#api.ReleaseStatus(status)
    throw new OrtError(message)
  }
}

/** One loaded graph. */
export class Session {
  readonly #api: ApiFunctions
  readonly #check: (status: unknown) => void
  readonly #session: Pointer
  readonly #deviceMemory: Pointer | undefined
  readonly #deviceAllocator: Pointer | undefined

  constructor(api: ApiFunctions, check: (status: unknown) => void, session: Pointer, deviceMemory: string | undefined) {
    this.#api = api
    this.#check = check
    this.#session = session
    if (deviceMemory) {
      const place = [deviceMemory, DEVICE_ALLOCATOR, 0, DEFAULT_MEMORY]
      this.#deviceMemory = createNative(api, check, 'CreateMemoryInfo', place)
      this.#deviceAllocator = createNative(api, check, 'CreateAllocator', [session, this.#deviceMemory])
    }
  }

  /** An uninitialised tensor in the device's memory. */
  deviceTensor(type: DataType, dims: readonly number[]): Value {
    if (!this.#deviceAllocator) throw new OrtError('This session runs on the CPU: its tensors are host tensors.')
    const args = [this.#deviceAllocator, dims, dims.length, DATA_TYPE[type]]
    return new Value(this.#api, createNative(this.#api, this.#check, 'CreateTensor', args))
  }

  /** A set of inputs and outputs by name, bound once and used for many runs. */
  createBinding(): Binding {
    return new Binding(this.#api, this.#check, createNative(this.#api, this.#check, 'CreateIoBinding', [this.#session]))
  }

  /** Runs the graph; blocks this thread until it is done. @throws OrtError */
  run(binding: Binding): void {
    this.#check(this.#api.RunWithBinding(this.#session, null, binding.pointer))
  }

  /** For a run by another thread. */
  get address(): bigint {
    return this.#session as bigint
  }

  release(): void {
    if (this.#deviceAllocator) this.#api.ReleaseAllocator(this.#deviceAllocator)
    if (this.#deviceMemory) this.#api.ReleaseMemoryInfo(this.#deviceMemory)
    this.#api.ReleaseSession(this.#session)
  }
}
