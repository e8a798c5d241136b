import { expect, test } from 'vitest'
import { Tool } from '../../gpu-backend/protocol.ts'

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
