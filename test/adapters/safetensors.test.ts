import { describe, expect, test } from 'vitest'
import { AdapterError } from '../../adapters/errors.ts'
import { memoryFile } from '../../adapters/file-set.ts'
import { MAX_HEADER_BYTES, openSafetensors, writeHeader } from '../../adapters/safetensors.ts'
import { safetensorsBytes } from '../support/peft-files.ts'
import fc from '../support/properties.ts'

const open = (bytes: Uint8Array) => openSafetensors(memoryFile('x.safetensors', bytes))

/** A file whose header is the given JSON text, followed by `dataBytes` zeros. */
function withHeader(json: string, dataBytes = 0, length?: bigint): Uint8Array {
  const text = new TextEncoder().encode(json)
  const bytes = new Uint8Array(8 + text.length + dataBytes)
  new DataView(bytes.buffer).setBigUint64(0, length ?? BigInt(text.length), true)
  bytes.set(text, 8)
  return bytes
}

const tensor = (start: number, end: number, shape: readonly number[] = [(end - start) / 4]) =>
  `{"dtype":"F32","shape":[${shape}],"data_offsets":[${start},${end}]}`

describe('safetensors', () => {
  test('what is written is read again, whatever the names', async () => {
    const names = fc.uniqueArray(fc.string({ unit: 'binary', minLength: 1, maxLength: 12 }), {
      minLength: 1,
      maxLength: 5,
    })
    await fc.assert(
      fc.asyncProperty(names, fc.array(fc.nat(4), { maxLength: 3 }), async (list, shape) => {
        const tensors = list
          .filter((name) => name !== '__metadata__' && name !== '__proto__')
          .map((name) => ({ name, shape }))
        const file = await open(safetensorsBytes(tensors, new Map([['note', 'kept']])))
        expect(file.metadata.get('note')).toBe('kept')
        expect([...file.tensors.keys()].sort()).toEqual(tensors.map(({ name }) => name).sort())
        for (const { name } of tensors) {
          const values = await file.tensors.get(name)!.load()
          expect(values.length).toBe(shape.reduce((product, size) => product * size, 1))
        }
      }),
      { seed: 3, numRuns: 100 },
    )
  })

  test.each([
    ['a number', '{"step":3}'],
    ['an object that is no text', '{"format":{"toString":1}}'],
    ['a list instead of names', '["a"]'],
  ])('metadata with %s is damage', async (_what, metadata) => {
    await expect(open(withHeader(`{"__metadata__":${metadata},"a":${tensor(0, 4)}}`, 4))).rejects.toMatchObject({
      code: 'malformed',
      message: expect.stringContaining('__metadata__'),
    })
  })

  test('the header is padded to eight bytes and sorted, so that it has one form', () => {
    const tensors = [{ name: 'a', dtype: 'F16' as const, shape: [3] }]
    const one = writeHeader(
      tensors,
      new Map([
        ['b', '1'],
        ['a', '2'],
      ]),
    )
    expect(one.length % 8).toBe(0)
    expect(one).toEqual(
      writeHeader(
        tensors,
        new Map([
          ['a', '2'],
          ['b', '1'],
        ]),
      ),
    )
  })

  test('bf16 and f16 become f32 exactly', async () => {
    const bytes = withHeader(
      '{"h":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"b":{"dtype":"BF16","shape":[2],"data_offsets":[4,8]}}',
      8,
    )
    new DataView(bytes.buffer).setUint32(bytes.length - 8, 0xbe003c00, true) // 1, -1.5
    new DataView(bytes.buffer).setUint32(bytes.length - 4, 0xc0203f80, true) // 1, -2.5
    const file = await open(bytes)
    expect(Array.from(await file.tensors.get('h')!.load())).toEqual([1, -1.5])
    expect(Array.from(await file.tensors.get('b')!.load())).toEqual([1, -2.5])
  })

  test.each([
    [
      'an announced header beyond the limit',
      withHeader('{}', 0, BigInt(MAX_HEADER_BYTES + 1)),
      'too_large',
      /announces a header/,
    ],
    ['a header longer than the file', withHeader('{}', 0, 100n), 'malformed', /truncated/],
    ['a header that is not JSON', withHeader('{]'), 'malformed', /not JSON/],
    ['a header that is not UTF-8', Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe), 'malformed', /not UTF-8/],
    ['a list as header', withHeader('[]'), 'malformed', /not a JSON object/],
    ['two tensors of one name', withHeader(`{"a":${tensor(0, 4)},"a":${tensor(4, 8)}}`, 8), 'malformed', /"a" twice/],
    [
      'a name twice by an escape',
      withHeader(`{"a":${tensor(0, 4)},"\\u0061":${tensor(4, 8)}}`, 8),
      'malformed',
      /"a" twice/,
    ],
    [
      'two shapes of one tensor',
      withHeader('{"a":{"dtype":"F32","shape":[1],"shape":[2],"data_offsets":[0,8]}}', 8),
      'malformed',
      /"shape" twice/,
    ],
    ['overlapping tensors', withHeader(`{"a":${tensor(0, 8)},"b":${tensor(4, 12)}}`, 12), 'malformed', /"b" overlaps/],
    ['a gap', withHeader(`{"a":${tensor(0, 4)},"b":${tensor(8, 12)}}`, 12), 'malformed', /gap before/],
    ['bytes behind the last tensor', withHeader(`{"a":${tensor(0, 4)}}`, 8), 'malformed', /bytes follow/],
    ['a missing end', withHeader(`{"a":${tensor(0, 8)}}`, 4), 'malformed', /truncated/],
    [
      'a shape that does not fit its bytes',
      withHeader(`{"a":${tensor(0, 4, [2])}}`, 4),
      'malformed',
      /do not fit its shape/,
    ],
    [
      'a shape whose product overflows',
      withHeader(`{"a":${tensor(0, 4, [4294967296, 4294967296, 4294967296])}}`, 4),
      'malformed',
      /do not fit its shape/,
    ],
    ['a negative offset', withHeader(`{"a":${tensor(-4, 0, [1])}}`, 4), 'malformed', /data_offsets/],
    [
      'an unknown dtype',
      withHeader('{"a":{"dtype":"F7","shape":[1],"data_offsets":[0,4]}}', 4),
      'malformed',
      /unknown dtype "F7"/,
    ],
    [
      'a dtype that is a property of every object',
      withHeader('{"a":{"dtype":"constructor","shape":[1],"data_offsets":[0,4]}}', 4),
      'malformed',
      /unknown dtype/,
    ],
  ])('%s is refused', async (_what, bytes, code, message) => {
    const error = await open(bytes).catch((caught: unknown) => caught)
    expect(error).toBeInstanceOf(AdapterError)
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) })
  })
})
