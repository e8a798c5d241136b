import { expect, test } from 'vitest'
import { alpacaChatTemplate } from '../../../adapters/formats/alpaca-template.ts'
import { EMBEDDED_MODEL } from '../../../gpu-backend/config.ts'
import { Prompts } from '../../../gpu-backend/engine/prompts.ts'
import { openModelSource } from '../../../gpu-backend/model/open-model.ts'
import { Tokenizer } from '../../../gpu-backend/model/tokenizer.ts'
import { GenerateRequest, SamplingParams } from '../../../gpu-backend/protocol.ts'

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
