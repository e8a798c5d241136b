// Native tensors, and sets of them that graphs run with. Knows no graph.
// Invariant: every native object made here is freed by its `release`.
import type { ApiFunctions, Pointer } from './ort-api.ts'

export type HostArray = Float32Array | Float16Array | Int32Array | Uint8Array

/** A native tensor. On a device, `Binding.input` copies a host tensor's data when it is bound, and not again. */
export class Value {
  readonly #api: ApiFunctions
  readonly pointer: Pointer
  /** Keeps the memory that the tensor lies over from being collected. */
  readonly data: HostArray | undefined

  constructor(api: ApiFunctions, pointer: Pointer, data?: HostArray) {
    this.#api = api
    this.pointer = pointer
    this.data = data
  }

  release(): void {
    this.#api.ReleaseValue(this.pointer)
  }
}

/** Gives `work` a function that keeps a value until `work` is done, and releases it then. */
export function whileHeld(work: (hold: (value: Value) => Value) => void): void {
  const values: Value[] = []
  try {
    work((value) => {
      values.push(value)
      return value
    })
  } finally {
    for (const value of values) value.release()
  }
}

/** Which values the graph's inputs and outputs are. A value must outlive the binding or be replaced in it first. */
export class Binding {
  readonly #api: ApiFunctions
  readonly #check: (status: unknown) => void
  readonly #held: Value[] = []
  readonly pointer: Pointer

  constructor(api: ApiFunctions, check: (status: unknown) => void, pointer: Pointer) {
    this.#api = api
    this.#check = check
    this.pointer = pointer
  }

  /** For a run by another thread. */
  get address(): bigint {
    return this.pointer as bigint
  }

  input(name: string, value: Value): void {
    this.#check(this.#api.BindInput(this.pointer, name, value.pointer))
  }

  output(name: string, value: Value): void {
    this.#check(this.#api.BindOutput(this.pointer, name, value.pointer))
  }

  /** The same value, which is released with this binding. */
  hold(value: Value): Value {
    this.#held.push(value)
    return value
  }

  release(): void {
    this.#api.ReleaseIoBinding(this.pointer)
    for (const value of this.#held) value.release()
  }
}

/** Makes one by the API's function `name`, whose last argument is where it is put. */
export function createNative(
  api: ApiFunctions,
  check: (status: unknown) => void,
  name: keyof ApiFunctions,
  args: readonly unknown[],
): Pointer {
  const out: [Pointer] = [null]
  check(api[name](...args, out))
  return out[0]
}
