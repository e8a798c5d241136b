import { afterAll, describe, expect, test } from 'vitest'
import { BackendError } from '../../../gpu-backend/errors.ts'
import { AdapterTemplates } from '../../../gpu-backend/model/adapter-templates.ts'
import { expectOneSentence } from '../../support/one-sentence.ts'

const templates = new AdapterTemplates()
const input = { messages: [{ role: 'user' as const, content: 'Hi' }], bos_token: '<s>', eos_token: '</s>' }
afterAll(() => templates.close())

async function refusal(template: string): Promise<string> {
  const error = await templates.render(template, input).catch((reason: unknown) => reason)
  if (!(error instanceof BackendError)) throw error
  expect(error.code).toBe('bad_request')
  expectOneSentence(error.message)
  return error.message
}

describe("an adapter's chat template", () => {
  test('makes the prompt of the messages and the special tokens', async () => {
    const template = '{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}{% endfor %}'
    expect(await templates.render(template, input)).toBe('<s>[user] Hi</s>')
    expect(await templates.render('{% if add_generation_prompt %}>{% endif %}', input)).toBe('>')
  })

  test.each([['{{ raise_exception("no system") }}'], ['{% for %}'], ['{{ messages[0].content.nothing() }}']])(
    'that refuses, %s, is refused',
    async (template) => {
      expect(await refusal(template)).toContain('refuses these messages')
    },
  )

  test.each([
    ['runs for ever', '{% for i in range(3000) %}{% for j in range(3000) %}{{ i * j }}{% endfor %}{% endfor %}'],
    ['takes all memory', '{% for i in range(1000000000) %}x{% endfor %}'],
  ])('that %s is stopped, and harms nobody', async (_, template) => {
    const [stopped, other] = [refusal(template), templates.render('{{ messages[0].content }}', input)]
    expect(await stopped).toContain('too much time or memory')
    expect(await other).toBe('Hi')
    // It is known now, and not run again.
    expect(await refusal(template)).toContain('too much time or memory')
    expect(await templates.render('{{ bos_token }}', input)).toBe('<s>')
  })

  test('sees nothing of the process but what it is given', async () => {
    for (const name of ['process', 'global', 'require', 'constructor', 'env']) {
      expect(await templates.render(`{{ ${name} is defined }}`, input)).toBe('false')
    }
  })

  test.each(Array.from({ length: 3 }, (_, i) => i))('works for many at the same time (%i)', async (round) => {
    const texts = Array.from({ length: 100 }, (_, i) => `${round}-${i}: {{ messages[0].content }}`)
    const rendered = await Promise.all(texts.map((text) => templates.render(text, input)))
    expect(rendered).toEqual(texts.map((_, i) => `${round}-${i}: Hi`))
  })
})
