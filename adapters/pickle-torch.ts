// The few classes and functions that a pickle of tensors names, and what each of them makes (torch/_utils.py).
// Knows no opcodes. Invariant: what is not listed here is never made, whatever its arguments.
import {
  isDict,
  isGlobal,
  isStorage,
  isTensor,
  type PickleValue,
  type StorageRef,
  type TensorRef,
} from './pickle-values.ts'

const STORAGES = new Set(
  ['Float', 'Double', 'Half', 'BFloat16', 'Long', 'Int', 'Short', 'Char', 'Byte', 'Bool'].map(
    (type) => `torch.${type}Storage`,
  ),
)
const CALLABLES = new Set([
  'collections.OrderedDict',
  'torch._utils._rebuild_tensor_v2',
  'torch._utils._rebuild_tensor',
  'torch._utils._rebuild_parameter',
])
/** torch allows 64; no weight has more than a convolution's five. */
const MAX_DIMENSIONS = 8

/** How whoever reads the pickle words a refusal: `bad` for damage, `refused` for what is understood and not built. */
export interface PickleRefusals {
  bad(why: string): Error
  refused(what: string): Error
}

/** Whether a pickle may name this class or function. */
export function isKnownGlobal(name: string): boolean {
  return STORAGES.has(name) || CALLABLES.has(name)
}

/** torch's persistent id: ('storage', class, key, location, number of values[, view]). */
export function storageOf(id: PickleValue, refusals: PickleRefusals): StorageRef {
  if (!Array.isArray(id) || id[0] !== 'storage') throw refusals.bad('it refers to something that is not a storage')
  const [, type, key, , values] = id
  if (!isGlobal(type) || !STORAGES.has(type.name) || typeof key !== 'string' || !isSize(values)) {
    throw refusals.bad('it refers to a storage that has no type, key or size')
  }
  if (id[5] !== undefined && id[5] !== null) throw refusals.refused('a view of a storage')
  return { kind: 'storage', type: type.name.slice('torch.'.length, -'Storage'.length), key, values }
}

/** What calling the known global `name` gives. */
export function callGlobal(name: string, args: readonly PickleValue[], refusals: PickleRefusals): PickleValue {
  switch (name) {
    case 'collections.OrderedDict':
      if (args.length > 0) throw refusals.refused('an OrderedDict made from arguments')
      return { kind: 'dict', entries: new Map() }
    case 'torch._utils._rebuild_tensor':
    case 'torch._utils._rebuild_tensor_v2':
      return tensorOf(args, refusals)
    case 'torch._utils._rebuild_parameter':
      if (!isTensor(args[0])) throw refusals.bad('it makes a parameter of something that is not a tensor')
      return args[0]
    default:
      throw refusals.refused(`a call of ${JSON.stringify(name)}`)
  }
}

function tensorOf(
  [storage, offset, shape, strides, , , metadata]: readonly PickleValue[],
  refusals: PickleRefusals,
): TensorRef {
  // torch marks here what it has not computed yet: `neg`, whose values have the other sign, and `conj`.
  if (isDict(metadata) && metadata.entries.size > 0) throw refusals.refused('a negated or conjugated view')
  if (
    !isStorage(storage) ||
    !isSize(offset) ||
    !isSizes(shape) ||
    !isSizes(strides) ||
    shape.length !== strides.length
  ) {
    throw refusals.bad('it describes a tensor without storage, shape or strides')
  }
  // Copies: later opcodes can still append to the pickle's own lists, past these checks.
  return { kind: 'tensor', storage, offset, shape: [...shape], strides: [...strides] }
}

function isSize(value: PickleValue | undefined): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function isSizes(value: PickleValue | undefined): value is number[] {
  return Array.isArray(value) && value.length <= MAX_DIMENSIONS && value.every(isSize)
}
