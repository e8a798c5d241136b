import type { ChildProcess } from 'node:child_process'
import { channel } from 'node:diagnostics_channel'
import { setImmediate } from 'node:timers/promises'
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest'
import { BackendError } from '../../../gpu-backend/errors.ts'
import { AdapterTemplates } from '../../../gpu-backend/model/adapter-templates.ts'
import { expectOneSentence } from '../../support/one-sentence.ts'

const templates = new AdapterTemplates()
const input = {
  messages: [{ role: 'user' as const, content: 'Hi' }],
  extras: {},
  specials: { bos_token: '<s>', eos_token: '</s>' },
}
afterAll(() => templates.close())

async function refusal(template: string, its = templates): Promise<string> {
  const error = await its.render('acme', template, input).catch((reason: unknown) => reason)
  if (!(error instanceof BackendError)) throw error
  expect(error.code).toBe('bad_request')
  expectOneSentence(error.message)
  return error.message
}

describe("an adapter's chat template", () => {
  test('makes the prompt of the messages and the special tokens', async () => {
    const template = '{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}{% endfor %}'
    expect(await templates.render('acme', template, input)).toBe('<s>[user] Hi</s>')
    expect(await templates.render('acme', '{% if add_generation_prompt %}>{% endif %}', input)).toBe('>')
  })

  test.each([['{{ raise_exception("no system") }}'], ['{% for %}'], ['{{ messages[0].content.nothing() }}']])(
    'that refuses, %s, is refused',
    async (template) => {
      expect(await refusal(template)).toContain('refuses these messages')
    },
  )

  test.each([
    ['a refusal', '{{ raise_exception("x" | indent(3000000, true)) }}'],
    ['a prompt', '{{ "x" | indent(30000000, true) }}'],
  ])('that writes %s of millions of characters is refused in a few', async (_, template) => {
    expect((await refusal(template)).length).toBeLessThan(1000)
  })

  test.each([
    ['runs for ever', '{% for i in range(3000) %}{% for j in range(3000) %}{{ i * j }}{% endfor %}{% endfor %}'],
    ['takes all memory', '{% for i in range(1000000000) %}x{% endfor %}'],
  ])('that %s is stopped, and harms nobody', async (_, template) => {
    const [stopped, other] = [refusal(template), templates.render('acme', '{{ messages[0].content }}', input)]
    expect(await stopped).toContain('too much time or memory')
    expect(await other).toBe('Hi')
    // It is known now, and not run again.
    expect(await refusal(template)).toContain('too much time or memory')
    expect(await templates.render('acme', '{{ bos_token }}', input)).toBe('<s>')
  })

  test('that is the model’s own and takes too much is refused for the conversation alone, which the next one is not', async () => {
    const template =
      '{% for i in range(messages[0].content | int) %}{% for j in range(3000) %}{{ i * j }}{% endfor %}{% endfor %}'
    const render = (content: string) =>
      templates.render('acme', template, { ...input, messages: [{ role: 'user', content }] }, 'model')
    for (const _ of [1, 2]) {
      const error = await render('3000').catch((reason: unknown) => reason)
      if (!(error instanceof BackendError)) throw error
      expect(error.message).toContain('with these tools and calls')
      expectOneSentence(error.message)
    }
    expect(await render('0')).toBe('')
    await expect(templates.render('acme', '{{ raise_exception("no") }}', input, 'model')).rejects.toThrow(
      "The model's chat template refuses these messages: no.",
    )
  })

  test('sees nothing of the process but what it is given', async () => {
    for (const name of ['process', 'global', 'require', 'constructor', 'env']) {
      expect(await templates.render('acme', `{{ ${name} is defined }}`, input)).toBe('False')
    }
  })

  test.each(Array.from({ length: 3 }, (_, i) => i))('works for many at the same time (%i)', async (round) => {
    const texts = Array.from({ length: 100 }, (_, i) => `${round}-${i}: {{ messages[0].content }}`)
    const rendered = await Promise.all(texts.map((text) => templates.render('acme', text, input)))
    expect(rendered).toEqual(texts.map((_, i) => `${round}-${i}: Hi`))
  })
})

describe("adapters' chat templates", () => {
  test('of one tenant take turns with those of others, in the order of each', async () => {
    const done: string[] = []
    const render = (tenant: string, name: string) =>
      templates.render(tenant, name, input).then((text) => done.push(text))
    const all = ['a1', 'a2', 'a3', 'a4', 'a5', 'b1', 'b2', 'c1'].map((name) => render(name[0]!, name))
    await Promise.all(all)
    expect(done).toEqual(['a1', 'a2', 'b1', 'c1', 'a3', 'b2', 'a4', 'a5'])
  })
})

describe("an adapter's chat template that is not heard of in time", () => {
  const MAX_RENDER_MS = 150
  const HI = '{{ messages[0].content }}'
  const processes: ChildProcess[] = []
  const note = (message: unknown) => processes.push((message as { process: ChildProcess }).process)
  let quick: AdapterTemplates

  beforeEach(async () => {
    processes.length = 0
    channel('child_process').subscribe(note)
    quick = new AdapterTemplates(MAX_RENDER_MS)
    // The process runs, and has its code compiled.
    expect(await quick.render('acme', HI, input)).toBe('Hi')
  })
  afterEach(() => {
    channel('child_process').unsubscribe(note)
    quick.close()
  })

  test('because this thread was held up is rendered, from what came meanwhile', async () => {
    const rendered = quick.render('acme', `${HI}!`, input)
    // One turn, in which it is sent.
    await setImmediate()
    const until = performance.now() + 5 * MAX_RENDER_MS
    while (performance.now() < until) {}
    expect(await rendered).toBe('Hi!')
    expect(processes).toHaveLength(1)
  })

  test('because its process was held up is refused, and rendered the next time', async () => {
    processes[0]!.kill('SIGSTOP')
    expect(await refusal(HI, quick)).toContain('too much time or memory')
    expect(await quick.render('acme', HI, input)).toBe('Hi')
    processes[1]!.kill('SIGSTOP')
    expect(await refusal(HI, quick)).toContain('too much time or memory')
    expect(await quick.render('acme', HI, input)).toBe('Hi')
  })

  test('twice in turn is not tried again', async () => {
    for (const [i, other] of ['one', 'two'].entries()) {
      processes[i]!.kill('SIGSTOP')
      expect(await refusal(HI, quick)).toContain('too much time or memory')
      expect(await quick.render('acme', other, input)).toBe(other)
    }
    processes[2]!.kill('SIGSTOP')
    expect(await refusal(HI, quick)).toContain('too much time or memory')
    processes[2]!.kill('SIGCONT')
    expect(await quick.render('acme', 'three', input)).toBe('three')
    // Nobody waited for the one that was held up: it would have been ended.
    expect(processes).toHaveLength(3)
  })

  test('because it has ended its process is not tried again at all', async () => {
    processes[0]!.kill('SIGSTOP')
    const refused = refusal(HI, quick)
    await setImmediate()
    processes[0]!.kill('SIGKILL')
    expect(await refused).toContain('too much time or memory')
    expect(await refusal(HI, quick)).toContain('too much time or memory')
    expect(processes).toHaveLength(1)
  })

  test('twice in turn goes on for another tenant with the same template', async () => {
    for (const i of [0, 1]) {
      processes[i]!.kill('SIGSTOP')
      expect(await refusal(HI, quick)).toContain('too much time or memory')
      expect(await quick.render('other', HI, input)).toBe('Hi')
    }
    expect(await refusal(HI, quick)).toContain('too much time or memory')
    expect(await quick.render('other', HI, input)).toBe('Hi')
  })

  test('because it was closed is not refused for it', async () => {
    processes[0]!.kill('SIGSTOP')
    const pending = [1, 2, 3].map(() => quick.render('acme', HI, input).catch((error: unknown) => error))
    await setImmediate()
    quick.close()
    for (const error of await Promise.all(pending)) expect(error).toMatchObject({ code: 'unavailable' })
    expect(await quick.render('acme', HI, input)).toBe('Hi')
  })
})
