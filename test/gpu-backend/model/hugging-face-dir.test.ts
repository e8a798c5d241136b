// What a model directory means where its files could be read in two ways: chat templates, and a head that config.json denies.
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import { writeHeader } from '../../../adapters/safetensors.ts'
import { EMBEDDED_MODEL } from '../../../gpu-backend/config.ts'
import { Prompts } from '../../../gpu-backend/engine/prompts.ts'
import { openHuggingFaceDir, tokenizerFiles } from '../../../gpu-backend/model/hugging-face-dir.ts'
import { Tokenizer } from '../../../gpu-backend/model/tokenizer.ts'
import { GenerateRequest, SamplingParams } from '../../../gpu-backend/protocol.ts'
import { expectOneSentence } from '../../support/one-sentence.ts'
import { temporaryDir } from '../../support/temporary-dir.ts'

const dir = join(temporaryDir(), 'model')
const PLAIN = 'plain {{ messages[0].content }}'
const WITH_TOOLS = '<tool_call> {{ tools[0].function.name }}'
const tools = [{ type: 'function' as const, function: { name: 'add' } }]
const messages = [{ role: 'user' as const, content: 'hi' }]
const BOS = { SpecialToken: { id: '<|endoftext|>', type_id: 0 } }
const BOS_FIRST = {
  type: 'TemplateProcessing',
  single: [BOS, { Sequence: { id: 'A', type_id: 0 } }],
  pair: [BOS, { Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
  special_tokens: { '<|endoftext|>': { id: '<|endoftext|>', ids: [0], tokens: ['<|endoftext|>'] } },
}

beforeEach(() => {
  rmSync(dir, { recursive: true, force: true })
  mkdirSync(join(dir, 'additional_chat_templates'), { recursive: true })
  cpSync(join(EMBEDDED_MODEL, 'tokenizer.json'), join(dir, 'tokenizer.json'))
})

const configure = (config: object) => writeFileSync(join(dir, 'tokenizer_config.json'), JSON.stringify(config))
const open = () => new Tokenizer(tokenizerFiles(dir, []))

test('an answer ends with the end tokens of config.json and with that of the tokenizer, a special token or a word', () => {
  const eos = (eos_token: unknown) => {
    configure({ eos_token })
    return tokenizerFiles(dir, [0]).eosTokenIds
  }
  expect(eos('<|im_end|>')).toEqual([0, 2])
  expect(eos({ content: '<|im_end|>' })).toEqual([0, 2])
  const word = new Tokenizer(tokenizerFiles(dir, [])).encode('a')
  expect(eos('a')).toEqual([0, ...word])
  for (const token of [null, '<|endoftext|>', 'no such token']) expect(eos(token)).toEqual([0])
})

describe('a conversation with tools is written with', () => {
  test('the template "tool_use" of tokenizer_config.json, others with "default"', () => {
    configure({
      chat_template: [
        { name: 'default', template: PLAIN },
        { name: 'tool_use', template: WITH_TOOLS },
      ],
    })
    expect(open().renderChat(messages)).toBe('plain hi')
    expect(open().renderChat(messages, { tools })).toBe('<tool_call> add')
  })

  test('the file tool_use.jinja, where chat_template.jinja is beside it', () => {
    configure({ chat_template: [{ name: 'tool_use', template: 'old' }] })
    writeFileSync(join(dir, 'chat_template.jinja'), PLAIN)
    expect(open().renderChat(messages, { tools })).toBe('plain hi')
    writeFileSync(join(dir, 'additional_chat_templates', 'tool_use.jinja'), WITH_TOOLS)
    expect(open().renderChat(messages)).toBe('plain hi')
    expect(open().renderChat(messages, { tools })).toBe('<tool_call> add')
  })

  test('the only template that there is', () => {
    configure({ chat_template: PLAIN })
    expect(open().renderChat(messages, { tools })).toBe('plain hi')
  })
})

test.each([
  ['none', null, ['Hi']],
  ['ByteLevel', { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false }, ['Hi']],
  ['a template', BOS_FIRST, ['<|endoftext|>', 'Hi']],
])(
  'a plain text begins as the post_processor (%s) has it, whatever tokenizer_config.json says',
  (_, post_processor, expected) => {
    // As with transformers 5.19; up to 4 its tokenizers of Llama followed the flags.
    const tokenizer = JSON.parse(readFileSync(join(EMBEDDED_MODEL, 'tokenizer.json'), 'utf8'))
    writeFileSync(join(dir, 'tokenizer.json'), JSON.stringify({ ...tokenizer, post_processor }))
    const common = { bos_token: '<|endoftext|>', eos_token: '<|im_end|>', tokenizer_class: 'LlamaTokenizerFast' }
    for (const flags of [{}, { add_bos_token: true }, { add_bos_token: false }, { add_eos_token: true }]) {
      configure({ ...common, ...flags })
      const opened = open()
      expect(Array.from(opened.encode('Hi'), (id) => opened.tokenText(id))).toEqual(expected)
    }
  },
)

test('tools may be given where the template for them, and not the default one, says how calls are written', async () => {
  configure({
    chat_template: [
      { name: 'default', template: PLAIN },
      { name: 'tool_use', template: WITH_TOOLS },
    ],
  })
  const prompts = new Prompts(open(), 100)
  const request = GenerateRequest.parse({ delta: null, messages, tools, sampling: SamplingParams.parse({}) })
  expect(prompts.toolUse(request, undefined, () => {})).toBeDefined()
  await prompts.close()
})

describe('a head that the file has beside tied embeddings', () => {
  const [VOCAB, HIDDEN] = [4, 16]
  const embedding = Float32Array.from({ length: VOCAB * HIDDEN }, (_, i) => i / 7)

  function write(head: Float32Array, tied: boolean): void {
    const config = { model_type: 'llama', num_hidden_layers: 1, num_attention_heads: 1, max_position_embeddings: 8 }
    const sizes = { vocab_size: VOCAB, hidden_size: HIDDEN, intermediate_size: 8, tie_word_embeddings: tied }
    writeFileSync(join(dir, 'config.json'), JSON.stringify({ ...config, ...sizes }))
    const names = ['model.embed_tokens.weight', 'lm_head.weight']
    const header = writeHeader(
      names.map((name) => ({ name, dtype: 'F32', shape: [VOCAB, HIDDEN] })),
      new Map(),
    )
    writeFileSync(join(dir, 'model.safetensors'), Buffer.concat([header, ...[embedding, head].map(bytes)]))
  }
  const bytes = (values: Float32Array) => Buffer.from(values.buffer)

  test('may be a copy of them, and anything where they are not tied', async () => {
    for (const [head, tied] of [[embedding.slice(), true] as const, [embedding.map((x) => x + 1), false] as const]) {
      write(head, tied)
      await (await openHuggingFaceDir(dir).openWeights()).close()
    }
  })

  test('is refused where it is another: of transformers 4, transformers 5 and vLLM some would compute with it', async () => {
    write(
      embedding.map((x) => x + 1),
      true,
    )
    const refused = await openHuggingFaceDir(dir)
      .openWeights()
      .catch((error: Error) => error.message)
    expect(refused).toContain('tie_word_embeddings')
    expectOneSentence(refused as string)
  })
})
