// Opens what torch.save writes (.pt, .bin, .pth): the ZIP form of torch 1.6 and later, and the older plain one.
// Knows nothing of adapters. Invariant: only tensors come out, each within the bytes of its own storage.
import { AdapterError, quote } from './errors.ts'
import type { AdapterFile } from './file-set.ts'
import { readPickle } from './pickle.ts'
import { isDict, isTensor, type PickleValue, type StorageRef, type TensorRef } from './pickle-values.ts'
import {
  BYTES_PER_VALUE,
  countValues,
  type FloatDtype,
  type SourceTensor,
  type TensorFile,
  toFloat32,
} from './source-tensor.ts'
import { isZip, openZip } from './zip.ts'

/** A state dict of 10,000 tensors pickles to about 2 MB. */
const MAX_PICKLE_BYTES = 32 * 1024 * 1024
const LEGACY_MAGIC = 0x1950a86a20f9469cfc6cn
const LEGACY_PROTOCOL = 1001
const DTYPES: Readonly<Record<string, FloatDtype>> = { Float: 'f32', Double: 'f64', Half: 'f16', BFloat16: 'bf16' }
const INTEGER_BYTES: Readonly<Record<string, number>> = { Long: 8, Int: 4, Short: 2, Char: 1, Byte: 1, Bool: 1 }
/** Wrappers that training scripts put around a state dict; loralib's GPT-2 example writes the first. */
const WRAPPERS = ['model_state_dict', 'state_dict', 'model', 'lora_state_dict']

/** A storage's bytes in the file. */
type StorageBytes = Pick<AdapterFile, 'size' | 'read'>
/** Finds a storage by its key; undefined when there is none. */
type StorageFinder = (key: string) => StorageBytes | undefined

/** Opens a file of torch.save: its pickle now, each tensor when it is loaded. Throws AdapterError. */
export async function openTorchFile(file: AdapterFile): Promise<TensorFile> {
  const head = await file.read(0, Math.min(16, file.size))
  const { value, storages } = isZip(head) ? await openZipForm(file) : await openLegacyForm(file)
  const tensors = new Map<string, SourceTensor>()
  for (const [name, tensor] of stateDict(value, file.name))
    tensors.set(name, sourceTensor(name, tensor, storages, file.name))
  return { file: file.name, tensors, metadata: new Map() }
}

async function openZipForm(file: AdapterFile): Promise<{ value: PickleValue; storages: StorageFinder }> {
  const members = await openZip(file)
  const pickles = [...members.values()].filter((member) => /^[^/]+\/data\.pkl$/.test(member.name))
  const [pickle] = pickles
  if (pickle === undefined || pickles.length > 1) {
    const what = members.has('constants.pkl') ? 'is a TorchScript archive' : 'has no data.pkl as torch.save writes it'
    throw new AdapterError('unsupported', `${file.name} ${what}; save the adapter's state dict with torch.save.`)
  }
  if (pickle.size > MAX_PICKLE_BYTES)
    throw new AdapterError('too_large', `${file.name}: its data.pkl has ${pickle.size} bytes; check the file.`)
  const folder = pickle.name.slice(0, -'data.pkl'.length)
  const order = members.get(`${folder}byteorder`)
  if (order !== undefined && new TextDecoder().decode(await order.read(0, Math.min(order.size, 8))) !== 'little') {
    throw new AdapterError(
      'unsupported',
      `${file.name} was saved on a big-endian machine; save it again on a little-endian one.`,
    )
  }
  const { value } = readPickle(await pickle.read(0, pickle.size), 0, file.name)
  return { value, storages: (key) => members.get(`${folder}data/${key}`) }
}

/**
 * The form before torch 1.6: pickles of a magic number, a protocol number, system facts, the value and the list of
 * storage keys; then each storage as its number of values (int64) and its bytes (torch/serialization.py, _legacy_save).
 */
async function openLegacyForm(file: AdapterFile): Promise<{ value: PickleValue; storages: StorageFinder }> {
  const unknown = new AdapterError(
    'malformed',
    `${file.name} is not a file of torch.save; check that the upload is complete.`,
  )
  const bytes = await file.read(0, Math.min(file.size, MAX_PICKLE_BYTES))
  if (bytes[0] !== 0x80) throw unknown
  const magic = readPickle(bytes, 0, file.name)
  if (magic.value !== LEGACY_MAGIC) throw unknown
  const protocol = readPickle(bytes, magic.end, file.name)
  if (protocol.value !== LEGACY_PROTOCOL) throw unknown
  const system = readPickle(bytes, protocol.end, file.name)
  const { value, end } = readPickle(bytes, system.end, file.name)
  const keys = readPickle(bytes, end, file.name)
  const types = new Map<string, StorageRef>()
  for (const tensor of collectTensors(value)) types.set(tensor.storage.key, tensor.storage)
  const places = new Map<string, StorageBytes>()
  let at = keys.end
  for (const key of Array.isArray(keys.value) ? keys.value : []) {
    const storage = typeof key === 'string' ? types.get(key) : undefined
    if (storage === undefined || at + 8 > file.size) throw unknown
    const field = await file.read(at, at + 8)
    const values = Number(new DataView(field.buffer, field.byteOffset, 8).getBigInt64(0, true))
    const start = at + 8
    const size = values * bytesPerValue(storage)
    if (!(values >= 0 && start + size <= file.size))
      throw new AdapterError('malformed', `${file.name} is truncated; upload it again.`)
    places.set(storage.key, { size, read: (from, to) => file.read(start + from, start + to) })
    at = start + size
  }
  return { value, storages: (key) => places.get(key) }
}

/** Every tensor in nested dicts and lists, each of these once: a pickle can make one that contains itself. */
function collectTensors(value: PickleValue): TensorRef[] {
  const tensors: TensorRef[] = []
  const waiting = [value]
  const seen = new Set<PickleValue>()
  for (let item = waiting.pop(); item !== undefined; item = waiting.pop()) {
    if (isTensor(item)) tensors.push(item)
    const inner = isDict(item) ? item.entries.values() : Array.isArray(item) ? item : undefined
    if (inner === undefined || seen.has(item)) continue
    seen.add(item)
    for (const value of inner) waiting.push(value)
  }
  return tensors
}

/** The dict of tensors, found at the top or under one of the usual wrappers. Non-tensors beside it are ignored. */
function stateDict(value: PickleValue, file: string): Map<string, TensorRef> {
  const dict = unwrap(value)
  if (dict === undefined)
    throw new AdapterError('malformed', `${file} holds no state dict; save the adapter's state dict with torch.save.`)
  const tensors = new Map<string, TensorRef>()
  for (const [key, item] of dict) if (typeof key === 'string' && isTensor(item)) tensors.set(key, item)
  return tensors
}

function unwrap(value: PickleValue): Map<PickleValue, PickleValue> | undefined {
  if (!isDict(value)) return undefined
  for (const wrapper of WRAPPERS) {
    const inner = value.entries.get(wrapper)
    if (isDict(inner)) return inner.entries
  }
  return value.entries
}

function bytesPerValue(storage: StorageRef): number {
  const dtype = DTYPES[storage.type]
  return dtype === undefined ? INTEGER_BYTES[storage.type]! : BYTES_PER_VALUE[dtype]
}

function sourceTensor(name: string, ref: TensorRef, storages: StorageFinder, file: string): SourceTensor {
  const { storage, offset, shape, strides } = ref
  const dtype = DTYPES[storage.type] ?? 'other'
  const count = countValues(shape)
  const span = count === 0 ? 0 : 1 + shape.reduce((sum, size, i) => sum + (size - 1) * strides[i]!, 0)
  const bytes = storages(storage.key)
  const width = bytesPerValue(storage)
  // An expanded tensor (stride 0) could be larger than its storage: a way to ask for any amount of memory.
  if (bytes === undefined || (offset + span) * width > bytes.size || count > span) {
    throw new AdapterError(
      'malformed',
      `${file}: tensor ${quote(name)} reaches outside its storage; the file is damaged, save it again.`,
    )
  }
  const load = async () => {
    const values = toFloat32(await bytes.read(offset * width, (offset + span) * width), dtype, name)
    return isContiguous(shape, strides) ? values : gather(values, shape, strides)
  }
  return { name, dtype, shape, load }
}

function isContiguous(shape: readonly number[], strides: readonly number[]): boolean {
  let expected = 1
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== expected) return false
    expected *= shape[i]!
  }
  return true
}

/** Row-major values of a strided tensor, as of a transposed weight that was saved without .contiguous(). */
function gather(values: Float32Array, shape: readonly number[], strides: readonly number[]): Float32Array {
  const result = new Float32Array(countValues(shape))
  const index = shape.map(() => 0)
  for (let i = 0, from = 0; i < result.length; i++) {
    result[i] = values[from]!
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += strides[axis]!
      if (++index[axis]! < shape[axis]!) break
      from -= strides[axis]! * shape[axis]!
      index[axis] = 0
    }
  }
  return result
}
