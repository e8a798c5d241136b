// Which chat template a model directory's conversations are written with: with tools it may be another one.
import { cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import { Prompts } from '../../../gpu-backend/engine/prompts.ts'
import { tokenizerFiles } from '../../../gpu-backend/model/hugging-face-dir.ts'
import { Tokenizer } from '../../../gpu-backend/model/tokenizer.ts'
import { GenerateRequest, SamplingParams } from '../../../gpu-backend/protocol.ts'
import { temporaryDir } from '../../support/temporary-dir.ts'
import { EMBEDDED_MODEL } from '../../support/tiny-model.ts'

const dir = join(temporaryDir(), 'model')
const PLAIN = 'plain {{ messages[0].content }}'
const WITH_TOOLS = '<tool_call> {{ tools[0].function.name }}'
const tools = [{ type: 'function' as const, function: { name: 'add' } }]
const messages = [{ role: 'user' as const, content: 'hi' }]

beforeEach(() => {
  rmSync(dir, { recursive: true, force: true })
  mkdirSync(join(dir, 'additional_chat_templates'), { recursive: true })
  cpSync(join(EMBEDDED_MODEL, 'tokenizer.json'), join(dir, 'tokenizer.json'))
})

const configure = (config: object) => writeFileSync(join(dir, 'tokenizer_config.json'), JSON.stringify(config))
const open = () => new Tokenizer(tokenizerFiles(dir, []))

describe('a conversation with tools is written with', () => {
  test('the template "tool_use" of tokenizer_config.json, others with "default"', () => {
    configure({
      chat_template: [
        { name: 'default', template: PLAIN },
        { name: 'tool_use', template: WITH_TOOLS },
      ],
    })
    expect(open().renderChat(messages)).toBe('plain hi')
    expect(open().renderChat(messages, tools)).toBe('<tool_call> add')
  })

  test('the file tool_use.jinja, where chat_template.jinja is beside it', () => {
    configure({ chat_template: [{ name: 'tool_use', template: 'old' }] })
    writeFileSync(join(dir, 'chat_template.jinja'), PLAIN)
    expect(open().renderChat(messages, tools)).toBe('plain hi')
    writeFileSync(join(dir, 'additional_chat_templates', 'tool_use.jinja'), WITH_TOOLS)
    expect(open().renderChat(messages)).toBe('plain hi')
    expect(open().renderChat(messages, tools)).toBe('<tool_call> add')
  })

  test('the only template that there is', () => {
    configure({ chat_template: PLAIN })
    expect(open().renderChat(messages, tools)).toBe('plain hi')
  })
})

test('calls are read as that template has models write them', async () => {
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
