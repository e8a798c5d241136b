// Reads a pickle that holds tensors and plain values; builds nothing else. No code of the file is run, ever.
// Knows torch's names for tensors but not where their bytes are. Invariant: an opcode or a global that is not listed
// here is refused by its name, and memory is bounded by the length of the pickle.
import { AdapterError, quote } from './errors.ts'

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

interface PickleGlobal {
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

/** Deep enough for any state dict, shallow enough for the stack of whoever walks the result. */
const MAX_STACK = 1_000_000
const MAX_PROTOCOL = 5
const MAX_LONG_BYTES = 64

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

const OPCODE_NAMES: Readonly<Record<number, string>> = {
  73: 'INT',
  70: 'FLOAT',
  83: 'STRING',
  86: 'UNICODE',
  105: 'INST',
  111: 'OBJ',
  129: 'NEWOBJ',
  146: 'NEWOBJ_EX',
  130: 'EXT1',
  131: 'EXT2',
  132: 'EXT4',
  80: 'PERSID',
  76: 'LONG',
  143: 'ADDITEMS',
}

const STOP = 0x2e
const MARK = Symbol('mark')
type StackItem = PickleValue | typeof MARK

/** One pickle's value and where it ended. Throws AdapterError `malformed` or, for what is not a tensor, `unsupported`. */
export function readPickle(bytes: Uint8Array, start: number, file: string): { value: PickleValue; end: number } {
  return new PickleReader(bytes, start, file).run()
}

class PickleReader {
  /** Everything that a pickle of tensors and plain values needs; by opcode, with pickletools' names. */
  private static readonly OPCODES: ReadonlyMap<number, (reader: PickleReader) => void> = new Map([
    [0x80, (r) => r.protocol()], // PROTO
    [0x95, (r) => r.skip(8)], // FRAME
    [0x28, (r) => r.stack.push(MARK)], // MARK
    [0x4e, (r) => r.push(null)], // NONE
    [0x88, (r) => r.push(true)], // NEWTRUE
    [0x89, (r) => r.push(false)], // NEWFALSE
    [0x4b, (r) => r.push(r.uint8())], // BININT1
    [0x4d, (r) => r.push(r.view.getUint16(r.skip(2), true))], // BININT2
    [0x4a, (r) => r.push(r.view.getInt32(r.skip(4), true))], // BININT
    [0x8a, (r) => r.push(r.long(r.uint8()))], // LONG1
    [0x8b, (r) => r.push(r.long(r.uint32()))], // LONG4
    [0x47, (r) => r.push(r.view.getFloat64(r.skip(8), false))], // BINFLOAT
    [0x58, (r) => r.push(r.text(r.uint32()))], // BINUNICODE
    [0x8c, (r) => r.push(r.text(r.uint8()))], // SHORT_BINUNICODE
    [0x54, (r) => r.push(r.text(r.uint32()))], // BINSTRING
    [0x55, (r) => r.push(r.text(r.uint8()))], // SHORT_BINSTRING
    [0x7d, (r) => r.push({ kind: 'dict', entries: new Map() })], // EMPTY_DICT
    [0x5d, (r) => r.push([])], // EMPTY_LIST
    [0x29, (r) => r.push([])], // EMPTY_TUPLE
    [0x74, (r) => r.push(r.popToMark())], // TUPLE
    [0x85, (r) => r.push(r.popMany(1))], // TUPLE1
    [0x86, (r) => r.push(r.popMany(2))], // TUPLE2
    [0x87, (r) => r.push(r.popMany(3))], // TUPLE3
    [0x61, (r) => r.append(r.popMany(1))], // APPEND
    [0x65, (r) => r.append(r.popToMark())], // APPENDS
    [0x73, (r) => r.setItems(r.popMany(2))], // SETITEM
    [0x75, (r) => r.setItems(r.popToMark())], // SETITEMS
    [0x30, (r) => r.pop()], // POP
    [0x31, (r) => r.popToMark()], // POP_MARK
    [0x71, (r) => r.memo.set(r.uint8(), r.top())], // BINPUT
    [0x72, (r) => r.memo.set(r.uint32(), r.top())], // LONG_BINPUT
    [0x94, (r) => r.memo.set(r.memo.size, r.top())], // MEMOIZE
    [0x68, (r) => r.recall(r.uint8())], // BINGET
    [0x6a, (r) => r.recall(r.uint32())], // LONG_BINGET
    [0x63, (r) => r.global(r.line(), r.line())], // GLOBAL
    [0x93, (r) => r.stackGlobal()], // STACK_GLOBAL
    [0x51, (r) => r.push(r.storage(r.pop()))], // BINPERSID
    [0x52, (r) => r.reduce()], // REDUCE
    [0x62, (r) => r.build()], // BUILD
  ] satisfies [number, (reader: PickleReader) => void][])

  private readonly bytes: Uint8Array
  private readonly view: DataView
  private readonly file: string
  private at: number
  private readonly stack: StackItem[] = []
  private readonly memo = new Map<number, PickleValue>()

  constructor(bytes: Uint8Array, start: number, file: string) {
    this.bytes = bytes
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.file = file
    this.at = start
  }

  run(): { value: PickleValue; end: number } {
    for (;;) {
      const opcode = this.uint8()
      if (opcode === STOP) return { value: this.pop(), end: this.at }
      const execute = PickleReader.OPCODES.get(opcode)
      if (execute === undefined) {
        const name = OPCODE_NAMES[opcode] ?? `0x${opcode.toString(16).padStart(2, '0')}`
        throw this.refused(`the opcode ${name} at byte ${this.at - 1}`)
      }
      execute(this)
      if (this.stack.length > MAX_STACK) throw this.bad('it nests too deeply')
    }
  }

  private bad(why: string): AdapterError {
    return new AdapterError(
      'malformed',
      `${this.file}: its pickle is damaged (${why}, at byte ${this.at}); save or upload it again.`,
    )
  }

  private refused(what: string): AdapterError {
    return new AdapterError(
      'unsupported',
      `${this.file}: its pickle uses ${what}; only tensors are read, so save the adapter as safetensors or as a plain state dict.`,
    )
  }

  /** Moves on by `count` bytes and returns where they begin. */
  private skip(count: number): number {
    const start = this.at
    if (count < 0 || start + count > this.bytes.byteLength) throw this.bad('it ends too early')
    this.at += count
    return start
  }

  private uint8(): number {
    return this.bytes[this.skip(1)]!
  }

  private uint32(): number {
    return this.view.getUint32(this.skip(4), true)
  }

  private protocol(): void {
    if (this.uint8() > MAX_PROTOCOL) throw this.bad('its protocol is unknown')
  }

  private push(value: PickleValue): void {
    this.stack.push(value)
  }

  private pop(): PickleValue {
    const value = this.stack.pop()
    if (value === undefined || value === MARK) throw this.bad('its stack is empty')
    return value
  }

  private top(): PickleValue {
    const value = this.stack.at(-1)
    if (value === undefined || value === MARK) throw this.bad('its stack is empty')
    return value
  }

  private popMany(count: number): PickleValue[] {
    return Array.from({ length: count }, () => this.pop()).reverse()
  }

  private popToMark(): PickleValue[] {
    const mark = this.stack.lastIndexOf(MARK)
    if (mark < 0) throw this.bad('it lacks a mark')
    const values = this.stack.splice(mark).slice(1)
    return values as PickleValue[]
  }

  private recall(index: number): void {
    const value = this.memo.get(index)
    if (value === undefined) throw this.bad(`it recalls memo ${index}, which was never stored`)
    this.push(value)
  }

  private append(values: PickleValue[]): void {
    const list = this.top()
    if (!Array.isArray(list)) throw this.bad('it appends to something that is not a list')
    for (const value of values) list.push(value)
  }

  private setItems(values: PickleValue[]): void {
    const dict = this.top()
    if (!isDict(dict) || values.length % 2 !== 0) throw this.bad('it sets items of something that is not a dict')
    for (let i = 0; i < values.length; i += 2) {
      const key = values[i]!
      if (typeof key === 'string' && dict.entries.has(key)) {
        throw new AdapterError('malformed', `${this.file}: its pickle has ${quote(key)} twice; save the file again.`)
      }
      dict.entries.set(key, values[i + 1]!)
    }
  }

  private line(): string {
    const end = this.bytes.indexOf(0x0a, this.at)
    if (end < 0) throw this.bad('it ends too early')
    const text = this.text(end - this.at)
    this.at++
    return text
  }

  private text(length: number): string {
    const start = this.skip(length)
    return new TextDecoder().decode(this.bytes.subarray(start, this.at))
  }

  private long(length: number): number | bigint {
    if (length < 0 || length > MAX_LONG_BYTES) throw this.bad('it holds an integer of absurd length')
    const start = this.skip(length)
    let value = 0n
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.bytes[start + i]!)
    if (length > 0 && this.bytes[this.at - 1]! >= 0x80) value -= 1n << BigInt(8 * length)
    const number = Number(value)
    return Number.isSafeInteger(number) ? number : value
  }

  private stackGlobal(): void {
    const [module, name] = this.popMany(2)
    this.global(String(module), String(name))
  }

  private global(module: string, name: string): void {
    const full = `${module}.${name}`
    if (!STORAGES.has(full) && !CALLABLES.has(full)) throw this.refused(`the class or function ${quote(full)}`)
    this.push({ kind: 'global', name: full })
  }

  /** torch's persistent id: ('storage', class, key, location, number of values[, view]). */
  private storage(id: PickleValue): StorageRef {
    if (!Array.isArray(id) || id[0] !== 'storage') throw this.bad('it refers to something that is not a storage')
    const [, type, key, , values] = id
    if (!isGlobal(type) || !STORAGES.has(type.name) || typeof key !== 'string' || !isSize(values)) {
      throw this.bad('it refers to a storage that has no type, key or size')
    }
    if (id[5] !== undefined && id[5] !== null) throw this.refused('a view of a storage')
    return { kind: 'storage', type: type.name.slice('torch.'.length, -'Storage'.length), key, values }
  }

  private reduce(): void {
    const [callable, args] = this.popMany(2)
    if (!isGlobal(callable) || !Array.isArray(args)) throw this.bad('it calls something that is not a function')
    switch (callable.name) {
      case 'collections.OrderedDict':
        if (args.length > 0) throw this.refused('an OrderedDict made from arguments')
        this.push({ kind: 'dict', entries: new Map() })
        return
      case 'torch._utils._rebuild_tensor':
      case 'torch._utils._rebuild_tensor_v2':
        this.push(this.tensor(args))
        return
      case 'torch._utils._rebuild_parameter':
        if (!isTensor(args[0])) throw this.bad('it makes a parameter of something that is not a tensor')
        this.push(args[0])
        return
      default:
        throw this.refused(`a call of ${quote(callable.name)}`)
    }
  }

  private tensor(args: PickleValue[]): TensorRef {
    const [storage, offset, shape, strides] = args
    if (
      !isStorage(storage) ||
      !isSize(offset) ||
      !isSizes(shape) ||
      !isSizes(strides) ||
      shape.length !== strides.length
    ) {
      throw this.bad('it describes a tensor without storage, shape or strides')
    }
    return { kind: 'tensor', storage, offset, shape, strides }
  }

  /** A state dict carries `_metadata` (plain values) as its own attribute: parsed, then dropped. */
  private build(): void {
    const [target, state] = this.popMany(2)
    if (!isDict(target) || !isDict(state)) throw this.refused('BUILD on something that is not a state dict')
    this.push(target)
  }
}

export function isDict(value: PickleValue | undefined): value is PickleDict {
  return typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'dict'
}

export function isTensor(value: PickleValue | undefined): value is TensorRef {
  return typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'tensor'
}

function isStorage(value: PickleValue | undefined): value is StorageRef {
  return typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'storage'
}

function isGlobal(value: PickleValue | undefined): value is PickleGlobal {
  return typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'global'
}

function isSize(value: PickleValue | undefined): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function isSizes(value: PickleValue | undefined): value is number[] {
  return Array.isArray(value) && value.every(isSize)
}
