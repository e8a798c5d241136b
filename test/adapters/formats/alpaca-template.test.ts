import { Template } from '@huggingface/jinja'
import { describe, expect, test } from 'vitest'
import { PLAIN_PROMPT } from '../../../adapters/delta.ts'
import { alpacaChatTemplate } from '../../../adapters/formats/alpaca-template.ts'

// The texts of alpaca-lora's templates "alpaca" and "alpaca_legacy", whose placeholders are Python's.
const PREAMBLE =
  'Below is an instruction that describes a task. Write a response that appropriately completes the request.'
const PAIRED =
  'Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.'
const ALPACA = {
  description: 'Template used by Alpaca-LoRA.',
  prompt_input: `${PAIRED}\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n`,
  prompt_no_input: `${PREAMBLE}\n\n### Instruction:\n{instruction}\n\n### Response:\n`,
  response_split: '### Response:',
}

function render(template: object, messages: { role: string; content: string }[]): string {
  const text = alpacaChatTemplate(template, 'alpaca.json')
  return new Template(text).render({ messages, add_generation_prompt: true, bos_token: '<s>', eos_token: '</s>' })
}

describe('the chat template made of an alpaca-lora template', () => {
  test('gives one user message exactly the prompt of training', () => {
    const question = 'What is your "return" policy?\nIn {short}, please \\ thanks.'
    expect(render(ALPACA, [{ role: 'user', content: question }])).toBe(
      `${PREAMBLE}\n\n### Instruction:\n${question}\n\n### Response:\n`,
    )
  })

  test('leaves the special tokens to the tokenizer, as the training script did', () => {
    expect(alpacaChatTemplate(ALPACA, 'alpaca.json').startsWith(PLAIN_PROMPT)).toBe(true)
  })

  test('keeps the legacy template without a newline at its end', () => {
    const legacy = { ...ALPACA, prompt_no_input: `${PREAMBLE}\n\n### Instruction:\n{instruction}\n\n### Response:` }
    expect(render(legacy, [{ role: 'user', content: 'Hi' }])).toBe(
      `${PREAMBLE}\n\n### Instruction:\nHi\n\n### Response:`,
    )
  })

  test('takes a system message as the instruction and the user message as its input', () => {
    const messages = [
      { role: 'system', content: 'Answer in French.' },
      { role: 'user', content: 'Where are you?' },
    ]
    expect(render(ALPACA, messages)).toBe(
      `${PAIRED}\n\n### Instruction:\nAnswer in French.\n\n### Input:\nWhere are you?\n\n### Response:\n`,
    )
  })

  test('puts earlier turns before the last one, without repeating the opening sentence', () => {
    const messages = [
      { role: 'user', content: 'Hi' },
      { role: 'assistant', content: 'Hello!' },
      { role: 'user', content: 'Bye' },
    ]
    expect(render(ALPACA, messages)).toBe(
      `${PREAMBLE}\n\n### Instruction:\nHi\n\n### Response:\nHello!\n\n### Instruction:\nBye\n\n### Response:\n`,
    )
  })

  test('reads doubled braces as Python does, and refuses other placeholders', () => {
    const braces = { ...ALPACA, prompt_no_input: 'set {{x}}: {instruction}' }
    expect(render(braces, [{ role: 'user', content: '{{y}}' }])).toBe('set {x}: {{y}}')
    expect(() => render({ ...ALPACA, prompt_no_input: '{name}' }, [])).toThrow(/placeholder "\{name\}"/)
    expect(() => render({ ...ALPACA, prompt_no_input: 'a { b' }, [])).toThrow(/lone \{/)
  })
})
