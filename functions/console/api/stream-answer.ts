// One streamed answer, as pieces of text and then what was measured. Knows no page.
import * as z from 'zod/mini'
import { serverSentData } from '../../client/server-sent-data.ts'
import { callEdge, EdgeError } from './edge.ts'

export interface AskRequest {
  /** With a chat template, or without. */
  readonly path: '/v1/chat/completions' | '/v1/completions'
  readonly body: { readonly model: string; readonly [field: string]: unknown }
}

const Measured = z.object({
  adapter: z.nullable(z.string()),
  tier: z.nullable(z.enum(['device', 'host', 'disk'])),
  cold: z.boolean(),
  batch: z.object({ rows: z.number(), deltas: z.number() }),
  queue_ms: z.number(),
  ttft_ms: z.number(),
  tokens_per_second: z.nullable(z.number()),
  price_nano: z.number(),
})
export type Measured = z.infer<typeof Measured>

const Usage = z.object({
  prompt_tokens: z.number(),
  completion_tokens: z.number(),
  prompt_tokens_details: z.object({ cached_tokens: z.number() }),
})
export type Usage = z.infer<typeof Usage>

const Chunk = z.object({
  choices: z.array(
    z.object({
      index: z.number(),
      /** Of a conversation. */
      delta: z.optional(z.object({ content: z.optional(z.nullable(z.string())) })),
      /** Of a bare prompt. */
      text: z.optional(z.string()),
      finish_reason: z.optional(z.nullable(z.string())),
    }),
  ),
  usage: z.optional(z.nullable(Usage)),
  polylora: z.optional(Measured),
})
const Failure = z.object({ error: z.object({ message: z.string(), code: z.nullable(z.string()) }) })

export type AnswerEvent =
  /** Of one of the answer's choices: `n` asks for several, which come mixed. */
  | { readonly kind: 'text'; readonly choice: number; readonly text: string }
  /** `length` where one of the choices was cut by it. */
  | { readonly kind: 'done'; readonly reason: string; readonly measured: Measured; readonly usage: Usage }

/** What is sent: the same as the curl line that the playground shows. */
export function streamedBody({ body }: AskRequest): object {
  return { ...body, stream: true, stream_options: { include_usage: true } }
}

/** Texts as they come, then `done`. Throws EdgeError, also where the stream breaks off. */
export async function* streamAnswer(
  key: string,
  request: AskRequest,
  signal: AbortSignal,
): AsyncGenerator<AnswerEvent> {
  const init = { method: 'POST', body: JSON.stringify(streamedBody(request)), signal }
  const response = await callEdge(key, request.path, init)
  let reason = 'stop'
  for await (const value of wholeEvents(response.body!, signal)) {
    const failure = Failure.safeParse(value)
    if (failure.success) throw new EdgeError(502, failure.data.error.code ?? 'unknown', failure.data.error.message)
    const { choices, usage, polylora } = Chunk.parse(value)
    for (const { index, delta, text: continued, finish_reason: finished } of choices) {
      const text = delta?.content ?? continued
      if (text) yield { kind: 'text', choice: index, text }
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
