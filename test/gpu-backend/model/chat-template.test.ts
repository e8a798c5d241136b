// Prompts as transformers (5.19) renders them.
import { execFileSync } from 'node:child_process'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
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
    expect(render("{{ '1' == 1 }}{{ 1 == 1.0 }}{{ true == 1 }}{{ 'a' != 'a' }}")).toBe('FalseTrueTrueFalse')
    expect(render('{% if (messages[0].role == "user") != (1 % 2 == 0) %}odd{% endif %}')).toBe('odd')
    expect(render(`{{ 1${' == 1'.repeat(200)} }}`)).toBe('True')
  })

  test('compares dictionaries and lists by what they hold: tools go before each message that is like the last one of Mistral', () => {
    const messages = ['yes', 'no', 'yes'].map((content) => ({ role: 'user', content, parts: [1, { a: content }] }))
    const last = '{% for m in messages %}{{ m.content }}{% if m == messages[-1] %}!{% endif %}{% endfor %}'
    expect(new ChatTemplate(last).render({ messages, bos_token: '', eos_token: '' })).toBe('yes!noyes!')
    expect(
      render("{{ [1, 'a'] == [1, 'a'] }}{{ [1] == [1, 2] }}{{ {'a': 1} == {'a': 2} }}{{ {'a': 1} == {'b': 1} }}"),
    ).toBe('TrueFalseFalseFalse')
  })

  test('writes values as Python does: tools of SmolLM3 are dictionaries made texts', () => {
    const tool = { name: 'a', on: true, no: null, types: ['x', 1, 0.5], more: {} }
    const messages = [{ role: 'user', content: 'hi', tool }]
    const withTool = (template: string) => new ChatTemplate(template).render({ messages, bos_token: '', eos_token: '' })
    const text = "{'name': 'a', 'on': True, 'no': None, 'types': ['x', 1, 0.5], 'more': {}}"
    expect(
      withTool("{{ messages[0].tool }}{% for m in messages %}{{ m.tool ~ '!' ~ (m.tool | string) }}{% endfor %}"),
    ).toBe(`${text}${text}!${text}`)
    expect(withTool('{{ messages[0].tool.types | upper }}{{ true | string }}')).toBe("['X', 1, 0.5]True")
    expect(render('{{ none }}{{ none | string }}{{ 1.0 }}{{ 0.0000001 }}')).toBe('NoneNone1.01e-07')
  })

  test('quotes texts within values as Python does', () => {
    const content = 'ä\\b\n\u00a0\u200b\u{1f642}\u{e0001}\u0007'
    expect(render(`{{ ["it's", '"', "it's " ~ '"', messages[0].content] }}`, content)).toBe(
      String.raw`["it's", '"', 'it\'s "', 'ä\\b\n\xa0\u200b🙂\U000e0001\x07']`,
    )
  })

  test("writes a call's arguments as JSON where it adds them to a text, as DeepSeek's do", () => {
    const call = { function: { name: 'add', arguments: { x: [1], unit: "it's" } } }
    const messages = [{ role: 'assistant', content: '', tool_calls: [call] }]
    const template =
      "{% for c in messages[0].tool_calls %}{{ c.function.name + '\\n' + c['function']['arguments'] + '!' }}{% endfor %}"
    expect(new ChatTemplate(template).render({ messages, bos_token: '', eos_token: '' })).toBe(
      'add\n{"x": [1], "unit": "it\'s"}!',
    )
  })

  test('writes nothing for what is not defined, nor fails over it', () => {
    expect(render("{{ nope }}|{{ 'a' ~ nope }}|{{ nope | upper }}|{{ nope | string }}")).toBe('|a||')
    expect(render('{% set map = {"a": 1} %}{{ map[messages[0].nope] }}{{ map[nope] is defined }}{{ map["a"] }}')).toBe(
      'False1',
    )
  })

  test('has no tools and no documents, which are none and not undefined', () => {
    expect(
      render('{% if tools is not none %}tools{% endif %}{% if documents is not none %}documents{% endif %}.'),
    ).toBe('.')
  })

  test("writes the date as Python's strftime does, in local time", () => {
    vi.useFakeTimers()
    onTestFinished(() => void vi.useRealTimers())
    const written = (date: Date, format: string) => {
      vi.setSystemTime(date)
      return render(`{% if strftime_now is defined %}{{ strftime_now('${format}') }}{% endif %}`)
    }
    const sunday = new Date(2026, 6, 5, 0, 7, 9)
    expect(written(sunday, '%d %B %Y|%b %e, %y|%-d.%-m.|%A %a|%j')).toBe('05 July 2026|Jul  5, 26|5.7.|Sunday Sun|186')
    expect(written(sunday, '%H:%M:%S|%I %p|%-I|100%%|%Q %')).toBe('00:07:09|12 AM|12|100%|%Q %')
    expect(written(new Date(2028, 11, 31, 13, 0, 0), '%I:%M %p on day %j')).toBe('01:00 PM on day 366')
  })

  test('writes months and days in English wherever the server is', () => {
    const module = new URL('../../../gpu-backend/model/chat-template.ts', import.meta.url).href
    const script = `
      import { ChatTemplate } from ${JSON.stringify(module)}
      const template = new ChatTemplate("{{ strftime_now('%B %b %A') }}")
      console.log(template.render({ messages: [], bos_token: '', eos_token: '' }))
      console.log(new Intl.DateTimeFormat(undefined, { month: 'long' }).format(new Date(2026, 2)))`
    const env = { ...process.env, LC_ALL: 'de_DE.UTF-8' }
    const [text, march] = execFileSync(process.execPath, ['--input-type=module', '-e', script], {
      env,
      encoding: 'utf8',
    }).split('\n')
    expect(march).toBe('März')
    const now = (options: Intl.DateTimeFormatOptions) => new Intl.DateTimeFormat('en-US', options).format(new Date())
    expect(text).toBe([now({ month: 'long' }), now({ month: 'long' }).slice(0, 3), now({ weekday: 'long' })].join(' '))
  })

  test('has the special tokens and is asked for the start of the answer', () => {
    expect(render('{{ bos_token }}{{ eos_token }}{{ add_generation_prompt }}')).toBe('<s></s>True')
  })
})
