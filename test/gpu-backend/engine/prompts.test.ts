import { afterEach, expect, test, vi } from 'vitest'
import { alpacaChatTemplate } from '../../../adapters/formats/alpaca-template.ts'
import { EMBEDDED_MODEL } from '../../../gpu-backend/config.ts'
import { Prompts } from '../../../gpu-backend/engine/prompts.ts'
import { AdapterTemplates } from '../../../gpu-backend/model/adapter-templates.ts'
import { openModelSource } from '../../../gpu-backend/model/open-model.ts'
import { Tokenizer } from '../../../gpu-backend/model/tokenizer.ts'
import { GenerateRequest, SamplingParams } from '../../../gpu-backend/protocol.ts'
import { TOOL_TEMPLATES } from '../../support/tool-templates.ts'

afterEach(() => vi.restoreAllMocks())

test('an alpaca-lora prompt begins with what the tokenizer begins every text with, a chat template’s as it was written', async () => {
  const { tokenizer: files } = await openModelSource(EMBEDDED_MODEL)
  const [bos] = files.eosTokenIds
  const content = new Tokenizer(files).tokenText(bos!)
  const special = { id: content, ids: [bos], tokens: [content] }
  const single = [{ SpecialToken: { id: content, type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }]
  const postProcessor = { type: 'TemplateProcessing', single, pair: single, special_tokens: { [content]: special } }
  const tokenizer = new Tokenizer({ ...files, tokenizer: { ...files.tokenizer, post_processor: postProcessor } })
  const prompts = new Prompts(tokenizer, 512)
  const messages = [{ role: 'user' as const, content: 'Hello there' }]
  const request = GenerateRequest.parse({ delta: null, messages, sampling: SamplingParams.parse({}) })
  const text = 'Instruction: Hello there Response:'
  const alpaca = alpacaChatTemplate(
    {
      prompt_input: 'Instruction: {instruction} Input: {input} Response:',
      prompt_no_input: 'Instruction: {instruction} Response:',
      response_split: 'Response:',
    },
    'alpaca.json',
  )
  const encoded = async (template: string) => [...(await prompts.encode(request, 'acme', template, undefined))[0]!]
  const bare = [...tokenizer.encodeRendered(text)]
  expect(await encoded(alpaca)).toEqual([bos, ...bare])
  expect(await encoded('Instruction: {{ messages[0].content }} Response:')).toEqual(bare)
  await prompts.close()
})

/** A request with as many calls whose arguments are `json`. */
function withCalls(json: string, count: number): GenerateRequest {
  const call = { id: 'call', type: 'function', function: { name: 'time', arguments: json } }
  const messages = [
    { role: 'user', content: 'Hello there' },
    { role: 'assistant', content: '', tool_calls: new Array(count).fill(call) },
  ]
  return GenerateRequest.parse({ delta: null, messages, sampling: SamplingParams.parse({}) })
}

async function withTools() {
  const { tokenizer: files } = await openModelSource(EMBEDDED_MODEL)
  const tokenizer = new Tokenizer({ ...files, chatTemplate: TOOL_TEMPLATES.hermes })
  return {
    prompts: new Prompts(tokenizer, 100_000),
    here: vi.spyOn(tokenizer, 'renderChat'),
    apart: vi.spyOn(AdapterTemplates.prototype, 'render'),
  }
}

test('a conversation whose calls are long to walk through is rendered in a process of its own, to the same tokens', async () => {
  const { prompts, here, apart } = await withTools()
  const encoded = async (request: GenerateRequest) => [
    ...(await prompts.encode(request, 'acme', undefined, undefined))[0]!,
  ]
  const small = await encoded(withCalls(`{"text": "${'a b '.repeat(2000)}"}`, 1))
  expect([here, apart].map(({ mock }) => mock.calls.length)).toEqual([1, 0])
  const large = await encoded(withCalls(`{"text": "${'a b '.repeat(2000)}"${' '.repeat(10_000)}}`, 1))
  expect([here, apart].map(({ mock }) => mock.calls.length)).toEqual([1, 1])
  expect(large).toEqual(small)
  await prompts.close()
})

test('calls that are too much to walk through are refused, which no later conversation is for it', async () => {
  const { prompts, here } = await withTools()
  const request = withCalls(`{"a":[${new Array(630_000).fill('{}').join(',')}]}`, 2)
  for (const _ of [1, 2]) {
    await expect(prompts.encode(request, 'acme', undefined, undefined)).rejects.toMatchObject({
      code: 'bad_request',
      message: expect.stringContaining('with these tools and calls'),
    })
  }
  const other = withCalls(`{"text": "a"${' '.repeat(20_000)}}`, 1)
  expect(await prompts.encode(other, 'acme', undefined, undefined)).toHaveLength(1)
  expect(here).not.toHaveBeenCalled()
  await prompts.close()
})
