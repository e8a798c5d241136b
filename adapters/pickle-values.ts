// What a pickle can hold here: plain values, lists, dicts, and torch's tensors over named storages.
// Knows no bytes. Invariant: everything but a list has a `kind`; lists and tuples are one and the same.

/** A storage as the pickle names it: torch's class (`FloatStorage`), its key, and its number of values. */
export interface StorageRef {
  readonly kind: 'storage'
  readonly type: string
  readonly key: string
  readonly values: number
}

/** A tensor over a storage: offset, shape and strides in values. */
export interface TensorRef {
  readonly kind: 'tensor'
  readonly storage: StorageRef
  readonly offset: number
  readonly shape: readonly number[]
  readonly strides: readonly number[]
}

export interface PickleDict {
  readonly kind: 'dict'
  readonly entries: Map<PickleValue, PickleValue>
}

/** A class or function by its full name, such as `torch.FloatStorage`. */
export interface PickleGlobal {
  readonly kind: 'global'
  readonly name: string
}

export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | PickleValue[]
  | TensorRef
  | StorageRef
  | PickleDict
  | PickleGlobal

export const isDict = (value: PickleValue | undefined) => isKind(value, 'dict')
export const isTensor = (value: PickleValue | undefined) => isKind(value, 'tensor')
export const isStorage = (value: PickleValue | undefined) => isKind(value, 'storage')
export const isGlobal = (value: PickleValue | undefined) => isKind(value, 'global')

type Kinded = Extract<PickleValue, { readonly kind: string }>

function isKind<Kind extends Kinded['kind']>(
  value: PickleValue | undefined,
  kind: Kind,
): value is Extract<Kinded, { readonly kind: Kind }> {
  return typeof value === 'object' && value !== null && 'kind' in value && value.kind === kind
}
