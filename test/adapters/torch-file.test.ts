import { readFileSync } from 'node:fs'
import { join as joinPath } from 'node:path'
import { describe, expect, test } from 'vitest'
import { AdapterError } from '../../adapters/errors.ts'
import { memoryFile } from '../../adapters/file-set.ts'
import { openTorchFile } from '../../adapters/torch-file.ts'
import { FORMATS } from '../support/tiny-base.ts'
import { pickle, torchArchive, zipArchive } from '../support/torch-archive.ts'

const open = (bytes: Uint8Array) => openTorchFile(memoryFile('adapter.pt', bytes))

async function refusal(bytes: Uint8Array): Promise<AdapterError> {
  try {
    const file = await open(bytes)
    for (const tensor of file.tensors.values()) await tensor.load()
  } catch (error) {
    if (error instanceof AdapterError) return error
    throw error
  }
  throw new Error('was accepted')
}

describe('files that torch.save writes', () => {
  const expected = JSON.parse(readFileSync(joinPath(FORMATS, 'torch/expected.json'), 'utf8'))
  test.each(['zip.pt', 'legacy.pt', 'wrapped.pt', 'protocol4.pt'])(
    '%s gives the values that torch has',
    async (name) => {
      const file = await open(new Uint8Array(readFileSync(joinPath(FORMATS, 'torch', name))))
      expect([...file.tensors.keys()].sort()).toEqual(Object.keys(expected).sort())
      for (const tensor of file.tensors.values()) {
        expect({ name: tensor.name, shape: tensor.shape, values: Array.from(await tensor.load()) }).toEqual({
          name: tensor.name,
          ...expected[tensor.name],
        })
      }
    },
  )
})

const STOP = '.'
const EMPTY_TUPLE = ')'
/** A global's module and name, as text lines. */
const GLOBAL = (module: string, name: string) => `c${module}\n${name}\n`
const unicode = (text: string): (string | number)[] => [0x8c, text.length, text]

/** (storage class, key, location, size) as a persistent id. */
const storage = (key: string, values: number) => [
  '(',
  ...unicode('storage'),
  GLOBAL('torch', 'FloatStorage'),
  ...unicode(key),
  ...unicode('cpu'),
  'K',
  values,
  't',
  'Q',
]
/** {name: tensor} with the given storage, offset, shape and strides. */
const oneTensor = (key: string, values: number, offset: number, size: number, stride: number) =>
  pickle(
    0x80,
    2,
    '}',
    ...unicode('w'),
    GLOBAL('torch._utils', '_rebuild_tensor_v2'),
    '(',
    ...storage(key, values),
    'K',
    offset,
    'K',
    size,
    0x85,
    'K',
    stride,
    0x85,
    0x89,
    GLOBAL('collections', 'OrderedDict'),
    EMPTY_TUPLE,
    'R',
    't',
    'R',
    's',
    STOP,
  )
/** The form before torch 1.6: `value` with one storage, of one float. */
const legacyFile = (...value: (string | number)[]) =>
  concatenated(
    pickle(0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, STOP),
    pickle(0x80, 2, 'M', 0xe9, 0x03, STOP),
    pickle(0x80, 2, '}', STOP),
    pickle(0x80, 2, ...value, STOP),
    pickle(0x80, 2, ']', ...unicode('0'), 'a', STOP),
    new Uint8Array(new BigInt64Array([1n]).buffer),
    new Uint8Array(new Float32Array([2.5]).buffer),
  )
const concatenated = (...pieces: Uint8Array[]) => new Uint8Array(Buffer.concat(pieces))
/** A tensor of the one float of storage "0". */
const oneFloat = [
  GLOBAL('torch._utils', '_rebuild_tensor_v2'),
  '(',
  ...storage('0', 1),
  ...['K', 0, 'K', 1, 0x85, 'K', 1, 0x85, 0x89],
  GLOBAL('collections', 'OrderedDict'),
  EMPTY_TUPLE,
  ...['R', 't', 'R'],
]
const data = (key: string, bytes: number) => ({ name: `archive/data/${key}`, bytes: new Uint8Array(bytes) })

describe('what lies beside the state dict in a file of before torch 1.6', () => {
  test('tensors in a list have storages like others', async () => {
    const file = await open(
      legacyFile('}', ...unicode('w'), ...oneFloat, 's', ...unicode('rng_states'), ']', ...oneFloat, 'a', 's'),
    )
    expect([...file.tensors.keys()]).toEqual(['w'])
    expect(await file.tensors.get('w')!.load()).toEqual(Float32Array.of(2.5))
  })

  test('a vocabulary of 200,000 words is passed over', async () => {
    const words = Array.from({ length: 200_000 }, (_, i) => `X\x07\0\0\0t${String(i).padStart(6, '0')}K\x01`)
    const file = await open(
      legacyFile('}', ...unicode('w'), ...oneFloat, 's', ...unicode('vocab'), '}', '(', words.join(''), 'u', 's'),
    )
    expect([...file.tensors.keys()]).toEqual(['w'])
  })
})

describe('a pickle runs nothing', () => {
  const system = [GLOBAL('os', 'system'), '(', ...unicode('rm -rf /'), 't', 'R', STOP]
  test.each([
    ['os.system', pickle(0x80, 2, ...system), /the class or function "os\.system"/],
    ['a builtin', pickle(0x80, 2, GLOBAL('builtins', 'eval'), STOP), /"builtins\.eval"/],
    [
      'torch.load in disguise',
      pickle(0x80, 2, GLOBAL('torch.storage', '_load_from_bytes'), STOP),
      /"torch\.storage\._load_from_bytes"/,
    ],
    ['a stacked name', pickle(0x80, 4, ...unicode('posix'), ...unicode('system'), 0x93, STOP), /"posix\.system"/],
    ['an old class', pickle(0x80, 2, '(i', 'os\nsystem\n', STOP), /the opcode INST/],
    [
      'a new object',
      pickle(0x80, 2, GLOBAL('collections', 'OrderedDict'), EMPTY_TUPLE, 0x81, STOP),
      /the opcode NEWOBJ/,
    ],
    ['a registered extension', pickle(0x80, 2, 0x82, 1, STOP), /the opcode EXT1/],
    ['the state of an object', pickle(0x80, 2, ']', '}', 'b', STOP), /BUILD on something that is not a state dict/],
    [
      'a call of a storage class',
      pickle(0x80, 2, GLOBAL('torch', 'FloatStorage'), EMPTY_TUPLE, 'R', STOP),
      /a call of "torch\.FloatStorage"/,
    ],
    [
      'a dict made from arguments',
      pickle(0x80, 2, GLOBAL('collections', 'OrderedDict'), ']', 0x85, 'R', STOP),
      /made from arguments/,
    ],
    [
      'a view whose values have the other sign',
      pickle(
        ...[0x80, 2, GLOBAL('torch._utils', '_rebuild_tensor_v2'), '(', ...storage('0', 1)],
        ...['K', 0, 'K', 1, 0x85, 'K', 1, 0x85, 0x89, GLOBAL('collections', 'OrderedDict'), EMPTY_TUPLE, 'R'],
        ...['}', ...unicode('neg'), 0x88, 's', 't', 'R', STOP],
      ),
      /negated or conjugated view/,
    ],
  ])('%s is refused by name', async (_what, bytes, message) => {
    for (const file of [torchArchive(bytes), bytes]) {
      const error = await refusal(file)
      if (file !== bytes) expect(error).toMatchObject({ code: 'unsupported', message: expect.stringMatching(message) })
    }
  })

  test.each([
    ['a pickle that ends too early', pickle(0x80, 2, '}'), /ends too early/],
    ['an empty stack', pickle(0x80, 2, 's', STOP), /stack is empty/],
    ['a missing mark', pickle(0x80, 2, 't', STOP), /lacks a mark/],
    ['a memo that was never stored', pickle(0x80, 2, 'h', 9, STOP), /memo 9/],
    ['a length beyond the file', pickle(0x80, 2, 'X', 0xff, 0xff, 0xff, 0xff, STOP), /ends too early/],
    ['an integer of absurd length', pickle(0x80, 2, 0x8a, 200, 0), /absurd length|ends too early/],
    ['a key twice', pickle(0x80, 2, '}', ...unicode('w'), 'N', 's', ...unicode('w'), 'N', 's', STOP), /has "w" twice/],
    ['no state dict', pickle(0x80, 2, 'K', 1, STOP), /no state dict/],
  ])('%s is damage', async (_what, bytes, message) => {
    expect(await refusal(torchArchive(bytes))).toMatchObject({
      code: 'malformed',
      message: expect.stringMatching(message),
    })
  })

  test('a dict that contains itself does not hang the reader', async () => {
    const loop = pickle(0x80, 2, '}', 'q', 0, ...unicode('state_dict'), 'h', 0, 's', STOP)
    expect((await open(torchArchive(loop))).tensors.size).toBe(0)
  })
})

describe('a tensor stays within its storage', () => {
  test('and is read when it does', async () => {
    const file = await open(torchArchive(oneTensor('0', 4, 1, 3, 1), data('0', 16)))
    expect(Array.from(await file.tensors.get('w')!.load())).toEqual([0, 0, 0])
  })

  test.each([
    ['past the end', oneTensor('0', 4, 2, 3, 1), 16],
    ['by its stride', oneTensor('0', 4, 0, 3, 2), 16],
    ['expanded from one value', oneTensor('0', 4, 0, 200, 0), 16],
    ['in a storage that is shorter than it says', oneTensor('0', 4, 0, 4, 1), 8],
    ['in a storage that is not there', oneTensor('1', 4, 0, 4, 1), 16],
  ])('%s: refused', async (_how, bytes, size) => {
    expect(await refusal(torchArchive(bytes, data('0', size)))).toMatchObject({
      code: 'malformed',
      message: expect.stringContaining('outside its storage'),
    })
  })
})

describe('an archive is read as torch.save writes it', () => {
  const good = { name: 'archive/data.pkl', bytes: oneTensor('0', 4, 0, 4, 1) }
  test.each([
    [
      'compressed members, which could expand without bound',
      [{ ...good, method: 8, size: 0xffff_fff0 }],
      /compressed or encrypted/,
    ],
    ['a member twice', [good, data('0', 16), data('0', 16)], /occurs twice/],
    ['TorchScript', [{ name: 'constants.pkl', bytes: good.bytes }], /TorchScript/],
    ['no data.pkl', [data('0', 16)], /no data\.pkl/],
    ['big-endian values', [good, data('0', 16), { name: 'archive/byteorder', bytes: pickle('big') }], /big-endian/],
  ])('%s: refused', async (_what, members, message) => {
    expect((await refusal(zipArchive(members))).message).toMatch(message)
  })

  test('an archive cut off anywhere is refused', async () => {
    const whole = torchArchive(good.bytes, data('0', 16))
    for (let length = 1; length < whole.length; length++) await refusal(whole.subarray(0, length))
  })
})
