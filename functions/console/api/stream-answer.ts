// One streamed answer, as pieces of text, calls of tools, and then what was measured. Knows no page.
import * as z from 'zod/mini'
import { serverSentData } from '../../client/server-sent-data.ts'
import { ErrorAnswer, Extension, OpenAiUsage } from '../../openai/answer-schemas.ts'
import { callEdge, EdgeError } from './edge.ts'

export interface AskRequest {
  /** With a chat template, or without. */
  readonly path: '/v1/chat/completions' | '/v1/completions'
  readonly body: { readonly model: string; readonly [field: string]: unknown }
}

/** Of a tool; each comes whole. */
const Call = z.object({ function: z.object({ name: z.string(), arguments: z.string() }) })

/** What is read of a chunk, of either route. */
const Chunk = z.object({
  choices: z.array(
    z.object({
      index: z.number(),
      /** Of a conversation. */
      delta: z.optional(
        z.object({ content: z.optional(z.nullable(z.string())), tool_calls: z.optional(z.array(Call)) }),
      ),
      /** Of a bare prompt. */
      text: z.optional(z.string()),
      finish_reason: z.optional(z.nullable(z.string())),
    }),
  ),
  usage: z.optional(z.nullable(OpenAiUsage)),
  polylora: z.optional(Extension),
})

export type AnswerEvent =
  /** Of one of the answer's choices: `n` asks for several, which come mixed. */
  | { readonly kind: 'text'; readonly choice: number; readonly text: string }
  /** Of a tool; `given` is JSON. */
  | { readonly kind: 'call'; readonly choice: number; readonly name: string; readonly given: string }
  /** `length` where one of the choices was cut by it. */
  | { readonly kind: 'done'; readonly reason: string; readonly measured: Extension; readonly usage: OpenAiUsage }

/** What is sent: the same as the curl line that the playground shows. */
export function streamedBody({ body }: AskRequest): object {
  return { ...body, stream: true, stream_options: { include_usage: true } }
}

/** Texts and calls as they come, then `done`. Throws EdgeError, also where the stream breaks off. */
export async function* streamAnswer(
  key: string,
  request: AskRequest,
  signal: AbortSignal,
): AsyncGenerator<AnswerEvent> {
  const init = { method: 'POST', body: JSON.stringify(streamedBody(request)), signal }
  const response = await callEdge(key, request.path, init)
  let reason = 'stop'
  for await (const value of wholeEvents(response.body!, signal)) {
    const failure = ErrorAnswer.safeParse(value)
    if (failure.success) throw new EdgeError(502, failure.data.error.code, failure.data.error.message)
    const { choices, usage, polylora } = Chunk.parse(value)
    for (const { index, delta, text: continued, finish_reason: finished } of choices) {
      const text = delta?.content ?? continued
      if (text) yield { kind: 'text', choice: index, text }
      for (const call of delta?.tool_calls ?? []) {
        yield { kind: 'call', choice: index, name: call.function.name, given: call.function.arguments }
      }
      if (finished && reason !== 'length') reason = finished
    }
    if (usage && polylora) {
      yield { kind: 'done', reason, measured: polylora, usage }
      return
    }
  }
}

/** The events of a stream that ends by itself or is aborted, but does not break off. Throws EdgeError where it does. */
async function* wholeEvents(body: ReadableStream<Uint8Array>, signal: AbortSignal): AsyncGenerator<unknown> {
  try {
    yield* serverSentData(body)
  } catch (error) {
    if (signal.aborted) throw error
  }
  throw new EdgeError(502, 'broken_stream', 'The answer broke off before it was complete: ask again.')
}
