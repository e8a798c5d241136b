// Prompts as transformers (5.19) renders them.
import { describe, expect, test } from 'vitest'
import { ChatTemplate } from '../../../gpu-backend/model/chat-template.ts'

const render = (template: string, content = 'hi') =>
  new ChatTemplate(template).render({ messages: [{ role: 'user', content }], bos_token: '<s>', eos_token: '</s>' })

describe('a chat template', () => {
  test('saved with the line ends of Windows or old Macs gives the same prompt', () => {
    const unix = '{%- for m in messages %}\n{{ m.role }}\n{{ m.content }}\n{% endfor %}\n'
    expect(render(unix)).toBe('user\nhi\n')
    for (const end of ['\r\n', '\r']) expect(render(unix.replaceAll('\n', end))).toBe(render(unix))
    expect(render('{{ "a\\r\\n" }}{{ messages[0].content }}', 'b\r\nc')).toBe('a\r\nb\r\nc')
  })

  test('strips the characters that it names and no others, as those of Qwen3 and SmolLM3 do', () => {
    const content = '<think>\n x \n</think>\n\n  answer\n '
    expect(render("{{ messages[0].content.split('</think>')[-1].lstrip('\\n') }}", content)).toBe('  answer\n ')
    expect(render("{{ messages[0].content.split('</think>')[0].rstrip('\\n') }}|", content)).toBe('<think>\n x |')
    expect(render("{{ { 'a': '-=x=-'.strip('=-') }.a }}{% if 'aab'.lstrip('a') == 'b' %}!{% endif %}")).toBe('x!')
    expect(render('{{ messages[0].content.strip() }}', ' \n x \n')).toBe('x')
  })

  test('compares as Python does: no text is a truth value or a number', () => {
    const isFalse =
      '{% if messages[0].content == false %}false{% endif %}{% if messages[0].content != false %}text{% endif %}'
    for (const content of ['', '  ', '0', 'x']) expect(render(isFalse, content)).toBe('text')
    expect(render("{{ '1' == 1 }}{{ 1 == 1.0 }}{{ true == 1 }}{{ 'a' != 'a' }}")).toBe('falsetruetruefalse')
    expect(render('{% if (messages[0].role == "user") != (1 % 2 == 0) %}odd{% endif %}')).toBe('odd')
    expect(render(`{{ 1${' == 1'.repeat(200)} }}`)).toBe('true')
  })

  test('has no tools and no documents, which are none and not undefined', () => {
    expect(
      render('{% if tools is not none %}tools{% endif %}{% if documents is not none %}documents{% endif %}.'),
    ).toBe('.')
  })

  test('has the special tokens and is asked for the start of the answer', () => {
    expect(render('{{ bos_token }}{{ eos_token }}{{ add_generation_prompt }}')).toBe('<s></s>true')
  })
})
