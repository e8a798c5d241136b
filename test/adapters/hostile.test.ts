// Files made to exhaust whoever reads them: each is refused in one sentence, in a thread with little memory, before the
// test's own time is over.
import { expect, test } from 'vitest'
import { targetModules } from '../../adapters/base-model.ts'
import { readLimited } from '../support/limited-reader.ts'
import { expectOneSentence } from '../support/one-sentence.ts'
import { peftTensors, safetensorsBytes } from '../support/peft-files.ts'
import { tinyBase } from '../support/tiny-base.ts'
import { join, pickle, torchArchive } from '../support/torch-archive.ts'
import { type GgufMetadata, writeGguf } from '../support/write-gguf.ts'

const base = tinyBase('gqa')
const MILLION = 1_000_000

function json(name: string, value: unknown) {
  return { name, bytes: new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value)) }
}
const repeated = (count: number, ...bytes: number[]) => {
  const whole = new Uint8Array(count * bytes.length)
  for (let i = 0; i < whole.length; i++) whole[i] = bytes[i % bytes.length]!
  return whole
}
const torch = (...parts: Uint8Array[]) => ({ name: 'adapter.pt', bytes: torchArchive(join(parts)) })
const PROTOCOL = pickle(0x80, 4)
const STOP = pickle('.')

/** A safetensors file of one tensor of no values per name. */
function named(...names: string[]) {
  return { name: 'adapter_model.safetensors', bytes: safetensorsBytes(names.map((name) => ({ name, shape: [0] }))) }
}

/** PEFT weights that fit the base, beside this configuration. */
function configured(config: object | string) {
  const weights = safetensorsBytes(peftTensors(base, ['model.layers.0.self_attn.q_proj']))
  const whole = typeof config === 'string' ? config : { peft_type: 'LORA', r: 2, lora_alpha: 4, ...config }
  return [json('adapter_config.json', whole), { name: 'adapter_model.safetensors', bytes: weights }]
}

/** Lists in lists, each holding the one before twice: 2^levels items for whoever walks it. */
function doubling(levels: number): Uint8Array {
  return join([
    pickle(']', 'q', 0),
    ...Array.from({ length: levels }, (_, i) => pickle(']', '(', 'h', i, 'h', i, 'e', 'q', i + 1)),
  ])
}

/** A safetensors file of nothing but this header. */
function withHeader(text: string): Uint8Array {
  const bytes = new Uint8Array(8 + text.length)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true)
  bytes.set(new TextEncoder().encode(text), 8)
  return bytes
}

/** A GGUF adapter of one pair, with this metadata. */
function gguf(metadata: GgufMetadata) {
  const facts = { 'general.type': 'adapter', 'general.architecture': 'qwen2', 'adapter.type': 'lora', ...metadata }
  const pair = [
    { name: 'blk.0.attn_q.weight.lora_a', type: 0, dims: [32, 2], bytes: new Uint8Array(256).fill(1) },
    { name: 'blk.0.attn_q.weight.lora_b', type: 0, dims: [2, 32], bytes: new Uint8Array(256).fill(1) },
  ]
  return { name: 'adapter.gguf', bytes: writeGguf(facts, pair) }
}

/** A GGUF file whose only metadata is an array of `count` bytes. */
function hugeGgufArray(count: number): Uint8Array {
  const start = writeGguf({ x: ['y'] }, [])
  // Up to and including the key, then an array (9) of u8 (0).
  const key = start.subarray(0, 4 + 4 + 8 + 8 + 8 + 1)
  const kind = new Uint8Array(16)
  new DataView(kind.buffer).setUint32(0, 9, true)
  new DataView(kind.buffer).setBigUint64(8, BigInt(count), true)
  return join([key, kind, new Uint8Array(count)])
}

/** torch's form before ZIP: magic number, protocol, system facts, the value, the list of storage keys. */
function legacyTorch(value: Uint8Array, keys: Uint8Array) {
  const magic = pickle(0x80, 2, 0x8a, 10)
  // 0x1950a86a20f9469cfc6c, the lowest byte first.
  const digits = Uint8Array.of(0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19)
  const rest = pickle('.', 0x80, 2, 'M', 0xe9, 3, '.', 0x80, 2, '}', '.', 0x80, 2)
  const bytes = join([magic, digits, rest, value, STOP, PROTOCOL, keys, STOP])
  return { name: 'adapter.pt', bytes }
}

/** 10,000 tensors over one storage whose common shape has 100,000 dimensions. */
function manyDimensions(): Uint8Array {
  const unicode = (text: string): (string | number)[] => [0x8c, text.length, text]
  const shape = [pickle('('), repeated(100_000, 0x4b, 1), pickle('t', 'q', 1, '0')]
  const storage = pickle(
    ...['(', ...unicode('storage'), 'ctorch\nFloatStorage\n', ...unicode('0'), ...unicode('cpu'), 'K', 1, 't', 'Q'],
    ...['q', 2, '0', 'ctorch._utils\n_rebuild_tensor_v2\n', 'q', 3, '0'],
  )
  const tensors = Array.from({ length: 10_000 }, (_, i) =>
    pickle(...unicode(`t${i}`), 'h', 3, '(', 'h', 2, 'K', 0, 'h', 1, 'h', 1, 't', 'R'),
  )
  return join([PROTOCOL, ...shape, storage, pickle('}', '('), ...tensors, pickle('u', '.')])
}

/** A pair over one value, whose shapes are lists that are filled once the tensors have been made of them. */
function growing() {
  const unicode = (text: string): (string | number)[] => [0x8c, text.length, text]
  const storage = pickle(
    ...['(', ...unicode('storage'), 'ctorch\nFloatStorage\n', ...unicode('0'), ...unicode('cpu'), 'K', 1, 't', 'Q'],
    ...['q', 2, '0', 'ctorch._utils\n_rebuild_tensor_v2\n', 'q', 3, '0', ']', 'q', 4, '0'],
  )
  const lists = pickle(']', 'q', 5, '0', ']', 'q', 6, '0')
  const tensors = [5, 6].map((shape, i) =>
    pickle(
      ...unicode(`model.layers.0.self_attn.q_proj.lora_${'AB'[i]}`),
      ...['h', 3, '(', 'h', 2, 'K', 0, 'h', shape, 'h', 4, 't', 'R'],
    ),
  )
  const grown = [5, 6].map((shape) => {
    const [rows, columns] = shape === 5 ? [2, 32] : [32, 2]
    return pickle('h', shape, 'K', rows, 'a', 'K', columns, 'a', '0')
  })
  const data = join([PROTOCOL, storage, lists, pickle('}', '('), ...tensors, pickle('u'), ...grown, STOP])
  const bytes = torchArchive(data, { name: 'archive/data/0', bytes: new Uint8Array(4) })
  return [{ name: 'adapter.pt', bytes }, json('lora.json', { lora_alpha: 4 })]
}

/** Patterns just within what they may be, and modules whose names are as long as names may be. */
function manyMatches() {
  const paths = [...targetModules(base).keys()].filter((path) => path.includes('.layers.'))
  const tensors = peftTensors(base, paths).map(({ name, shape }) => ({
    name: name.replace('base_model.model.', `base_model.model.${'module.'.repeat(130)}`),
    shape,
  }))
  const config = { peft_type: 'LORA', r: 2, lora_alpha: 4, alpha_pattern: { '(?:.?){800}(?:.?){800}(?:.?){800}': 1 } }
  return [json('adapter_config.json', config), { name: 'adapter_model.safetensors', bytes: safetensorsBytes(tensors) }]
}

const CONFIG = json('adapter_config.json', { peft_type: 'LORA', r: 2, lora_alpha: 4 })
const LORA_NAME = 'base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight'
const HOSTILE: readonly [what: string, files: Parameters<typeof readLimited>[0], message: RegExp][] = [
  [
    'a pickle of one value, remembered 18 million times',
    [torch(PROTOCOL, pickle('K', 1), repeated(18 * MILLION, 0x94), STOP)],
    /pickle/,
  ],
  [
    'a pickle of ten million dicts',
    [torch(PROTOCOL, pickle(']'), repeated(100, 0x28, ...new Uint8Array(100_000).fill(0x7d), 0x65), STOP)],
    /pickle/,
  ],
  ['a class named by lists that double', [torch(PROTOCOL, doubling(40), pickle(']', 0x93), STOP)], /pickle/],
  ['storage keys that are lists that double', [legacyTorch(pickle('}'), doubling(40))], /adapter\.pt/],
  ['tensors of 100,000 dimensions', [torch(manyDimensions())], /pickle/],
  ['tensors whose shapes grow once they have been checked', growing(), /lora_A" is \[\]|without a shape/],
  [
    'a header nested a million deep',
    [{ name: 'x.safetensors', bytes: withHeader(`${'{"a":'.repeat(MILLION)}1${'}'.repeat(MILLION)}`) }],
    /x\.safetensors/,
  ],
  ['a name that makes patterns backtrack', [named('.lora_A.'.repeat(500_000))], /name/],
  ['a layer number without end', [named(LORA_NAME.replace('.0.', '.99999999999.')), CONFIG], /99999999999/],
  [
    'patterns that are each allowed and together are not',
    configured({
      rank_pattern: Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`(?:a|b|c){1000}${i}`, 1])),
    }),
    /rank_pattern/,
  ],
  ['patterns that take long for each module', manyMatches(), /alpha_pattern/],
  [
    'three hundred thousand targets',
    configured({ target_modules: Array.from({ length: 300_000 }, (_, i) => `m${i}`) }),
    /target_modules/,
  ],
  [
    'three hundred thousand saved modules',
    configured({ modules_to_save: Array.from({ length: 300_000 }, (_, i) => `m${i}`) }),
    /modules_to_save/,
  ],
  ['a configuration that says r twice', configured('{"peft_type":"LORA","r":2,"r":4,"lora_alpha":4}'), /"r" twice/],
  ['GGUF tensors that begin between bytes', [gguf({ 'general.alignment': 1.5 })], /general\.alignment/],
  ['a GGUF header of 30 million numbers', [{ name: 'adapter.gguf', bytes: hugeGgufArray(30 * MILLION) }], /header/],
  [
    'a GGUF adapter that acts after some tokens alone',
    [gguf({ 'adapter.alora.invocation_tokens': [1, 2] })],
    /adapter\.alora\.invocation_tokens/,
  ],
  ['a GGUF alpha that is text', [gguf({ 'adapter.lora.alpha': '' })], /adapter\.lora\.alpha/],
]

test.each(HOSTILE)('%s: refused in one sentence', async (_what, files, message) => {
  for (const given of [base, undefined]) {
    const outcome = await readLimited(files, given)
    if (outcome === 'read') throw new Error('was accepted')
    expect(outcome.message).toMatch(message)
    expectOneSentence(outcome.message)
  }
})

test('names that every object has are names like any other', async () => {
  for (const name of ['__proto__', 'constructor', 'toString']) {
    const outcome = await readLimited(
      configured(`{"peft_type":"LORA","lora_alpha":4,"r":2,"alpha_pattern":{"${name}":8},"${name}":{"use_dora":true}}`),
      base,
    )
    expect(outcome).toBe('read')
    const facts = json('lora.json', { lora_alpha: 4 })
    expect(await readLimited([named(name, `${name}.lora_A`, `${name}.lora_B`), facts], base)).toMatchObject({
      code: expect.any(String),
    })
  }
})
