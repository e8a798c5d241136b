import { expect, test } from 'vitest'
import { ApiError } from '../../../functions/errors.ts'
import { ChunkedAnswer } from '../../../functions/openai/answer.ts'
import { chatDialect } from '../../../functions/openai/dialect.ts'
import { eventStream } from '../../../functions/openai/event-stream.ts'
import type { GenerateEvent } from '../../../gpu-backend/protocol.ts'

const FRAME = {
  ...{ dialect: chatDialect, id: 'chatcmpl-1', model: 'tiny-base', createdMs: 0 },
  ...{ digest: null, base: 'b', cold: false, terms: null },
}
const CALL = { id: 'call-1', type: 'function', function: { name: 'time', arguments: '{}' } } as const

/** A call that takes this long to be written: each of its tokens is counted, and has no text. */
async function* writingCall(ms: number, everyMs: number): AsyncGenerator<GenerateEvent> {
  for (let passed = 0; passed < ms; passed += everyMs) {
    await new Promise((resolve) => setTimeout(resolve, everyMs))
    yield { event: 'text', index: 0, text: '', tokens: 1 }
  }
  yield { event: 'tool_call', index: 0, call: CALL }
}

test('a stream gives signs of life while a call is being written, though the backend is not silent', async () => {
  const body = eventStream({
    answer: new ChunkedAnswer(FRAME, false),
    events: writingCall(2_500, 100),
    failure: () => new ApiError(502, 'generation_failed', 'No.'),
    onLeave: () => undefined,
  })
  const text = await new Response(body as ReadableStream<Uint8Array<ArrayBuffer>>).text()
  const [before] = text.split('"tool_calls"')
  expect(before!.match(/^: still here$/gm)?.length).toBeGreaterThanOrEqual(2)
})
