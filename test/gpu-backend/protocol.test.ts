import { expect, test } from 'vitest'
import { GenerateRequest, TemplateKwargs, Tool } from '../../gpu-backend/protocol.ts'

test.each([
  [500, true],
  [501, false],
])('JSON of any shape may be nested 500 levels deep, empty at the end or not: %i', (levels, isTaken) => {
  // The tool's function and its parameters are the first two.
  for (const innermost of ['[]', '[1]', '{"a":1}']) {
    const inside = '['.repeat(levels - 3) + innermost + ']'.repeat(levels - 3)
    const tool: unknown = JSON.parse(`{"type":"function","function":{"name":"f","parameters":{"a":${inside}}}}`)
    expect(Tool.safeParse(tool).success).toBe(isTaken)
  }
})

test.each([
  [{ enable_thinking: false, reasoning_effort: 'low', documents: [{ title: 'T' }], _x1: null }, true],
  [{ tools: [] }, false],
  [{ add_generation_prompt: false }, false],
  // Jinja's own, which cannot be set there.
  [{ none: 1 }, false],
  [{ namespace: 1 }, false],
  [{ 'a b': 1 }, false],
  [{ text: 'x'.repeat(16_384 - '{"text":""}'.length) }, true],
  [{ text: 'x'.repeat(16_385 - '{"text":""}'.length) }, false],
])(
  'a chat template is given any variables but those that are not the request’s, and not too much: %#',
  (given, isTaken) => {
    expect(TemplateKwargs.safeParse(given).success).toBe(isTaken)
    const request = { delta: null, chat_template_kwargs: given, sampling: {} }
    const messages = [{ role: 'user', content: 'hi' }]
    expect(GenerateRequest.safeParse({ ...request, messages }).success).toBe(isTaken)
    expect(GenerateRequest.safeParse({ ...request, prompt: 'hi' }).success).toBe(false)
  },
)
