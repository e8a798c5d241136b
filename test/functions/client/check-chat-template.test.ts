import { describe, expect, test } from 'vitest'
import { checkChatTemplate } from '../../../functions/client/check-chat-template.ts'
import { renderChatTemplate } from '../../../scripts/render-chat-template.ts'

describe("an adapter's chat template, before it is published", () => {
  test('passes when it says what the user says', async () => {
    await checkChatTemplate('{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}', renderChatTemplate)
  })

  test.each([
    ['{% for m in messages %}', /cannot be rendered/],
    ['{{ raise_exception("no system message") }}', /no system message/],
    ['Hello', /leaves out the user's message/],
    [
      '{% set x = namespace(v="ab") %}{% for i in range(60) %}{% set x.v = x.v ~ x.v %}{% endfor %}',
      /cannot be rendered/,
    ],
    ['{% for i in range(100000000) %}{% endfor %}', /too much time or memory/],
  ])('%s is refused', async (template, message) => {
    await expect(checkChatTemplate(template, renderChatTemplate)).rejects.toThrow(message)
  })
})
