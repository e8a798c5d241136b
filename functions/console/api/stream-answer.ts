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
  | { readonly kind: 'text'; readonly text: string }
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
  for await (const value of serverSentData(response.body!)) {
    const failure = Failure.safeParse(value)
    if (failure.success) throw new EdgeError(502, failure.data.error.code ?? 'unknown', failure.data.error.message)
    const { choices, usage, polylora } = Chunk.parse(value)
    const text = choices[0]?.delta?.content ?? choices[0]?.text
    if (text) yield { kind: 'text', text }
    reason = choices[0]?.finish_reason ?? reason
    if (usage && polylora) {
      yield { kind: 'done', reason, measured: polylora, usage }
      return
    }
  }
  throw new EdgeError(502, 'broken_stream', 'The answer broke off before it was complete: ask again.')
}
