// Reads a pickle that holds tensors and plain values; builds nothing else. No code of the file is run, ever.
// Knows opcodes; pickle-torch.ts knows the classes. Invariant: an opcode or a global that is not listed is refused by its
// name, and both memory and time are bounded by MAX_OPCODES beside the text that the pickle itself holds.
import { AdapterError, quote } from './errors.ts'
import { REFUSED_OPCODES } from './pickle-opcodes.ts'
import { callGlobal, isKnownGlobal, type PickleRefusals, storageOf } from './pickle-torch.ts'
import { isDict, isGlobal, type PickleValue } from './pickle-values.ts'

/** A tensor takes some forty: enough for an adapter of 12,000 modules. The costliest (a dict) takes about 250 bytes. */
const MAX_OPCODES = 500_000
const MAX_PROTOCOL = 5
const MAX_LONG_BYTES = 64

const STOP = 0x2e
const MARK = Symbol('mark')
type StackItem = PickleValue | typeof MARK
const UTF8 = new TextDecoder()

/** One pickle's value and where it ended. Throws AdapterError `malformed` or, for what is not a tensor, `unsupported`. */
export function readPickle(bytes: Uint8Array, start: number, file: string): { value: PickleValue; end: number } {
  return new PickleReader(bytes, start, file).run()
}

class PickleReader implements PickleRefusals {
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
    [0x51, (r) => r.push(storageOf(r.pop(), r))], // BINPERSID
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
    for (let count = 0; count < MAX_OPCODES; count++) {
      const opcode = this.uint8()
      if (opcode === STOP) return { value: this.pop(), end: this.at }
      const execute = PickleReader.OPCODES.get(opcode)
      if (execute === undefined) {
        const name = REFUSED_OPCODES.get(opcode) ?? `0x${opcode.toString(16).padStart(2, '0')}`
        throw this.refused(`the opcode ${name} at byte ${this.at - 1}`)
      }
      execute(this)
    }
    throw new AdapterError(
      'too_large',
      `${this.file}: its pickle has more than ${MAX_OPCODES} steps, far more than any adapter's; save only the adapter's tensors.`,
    )
  }

  bad(why: string): AdapterError {
    return new AdapterError(
      'malformed',
      `${this.file}: its pickle is damaged (${why}, at byte ${this.at}); save or upload it again.`,
    )
  }

  refused(what: string): AdapterError {
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
    return UTF8.decode(this.bytes.subarray(start, this.at))
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
    if (typeof module !== 'string' || typeof name !== 'string')
      throw this.bad('it names a class by something else than text')
    this.global(module, name)
  }

  private global(module: string, name: string): void {
    const full = `${module}.${name}`
    if (!isKnownGlobal(full)) throw this.refused(`the class or function ${quote(full)}`)
    this.push({ kind: 'global', name: full })
  }

  private reduce(): void {
    const [callable, args] = this.popMany(2)
    if (!isGlobal(callable) || !Array.isArray(args)) throw this.bad('it calls something that is not a function')
    this.push(callGlobal(callable.name, args, this))
  }

  /** A state dict carries `_metadata` (plain values) as its own attribute: parsed, then dropped. */
  private build(): void {
    const [target, state] = this.popMany(2)
    if (!isDict(target) || !isDict(state)) throw this.refused('BUILD on something that is not a state dict')
    this.push(target)
  }
}
