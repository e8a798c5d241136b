// What the OpenAI-compatible routes answer, as OpenAI defines it, and what is added to it (`polylora`).
import * as z from 'zod/mini'
import { Digest, Tier, ToolCall } from '../../gpu-backend/protocol.ts'

const FinishReason = z.nullable(z.enum(['stop', 'length', 'tool_calls']))
const tokenLogprob = { token: z.string(), logprob: z.number(), bytes: z.array(z.int()) }

const ChatLogprobs = z.nullable(
  z.object({
    content: z.array(z.object({ ...tokenLogprob, top_logprobs: z.array(z.object(tokenLogprob)) })),
    refusal: z.null(),
  }),
)
export type ChatLogprobs = z.infer<typeof ChatLogprobs>

const ChatChoice = z.object({
  index: z.int(),
  message: z.object({
    role: z.literal('assistant'),
    /** null: nothing but calls. */
    content: z.nullable(z.string()),
    refusal: z.null(),
    tool_calls: z.optional(z.array(ToolCall)),
  }),
  logprobs: ChatLogprobs,
  finish_reason: FinishReason,
})
export type ChatChoice = z.infer<typeof ChatChoice>

const ChatChunkChoice = z.object({
  index: z.int(),
  delta: z.object({
    role: z.optional(z.literal('assistant')),
    content: z.optional(z.string()),
    /** Each comes whole, under its place among the choice's calls. */
    tool_calls: z.optional(z.array(z.object({ ...ToolCall.shape, index: z.int() }))),
  }),
  logprobs: ChatLogprobs,
  finish_reason: FinishReason,
})
export type ChatChunkChoice = z.infer<typeof ChatChunkChoice>

const CompletionLogprobs = z.nullable(
  z.object({
    tokens: z.array(z.string()),
    token_logprobs: z.array(z.number()),
    top_logprobs: z.array(z.record(z.string(), z.number())),
    text_offset: z.array(z.int()),
  }),
)
export type CompletionLogprobs = z.infer<typeof CompletionLogprobs>

const CompletionChoice = z.object({
  index: z.int(),
  text: z.string(),
  logprobs: CompletionLogprobs,
  finish_reason: FinishReason,
})
export type CompletionChoice = z.infer<typeof CompletionChoice>

export const OpenAiUsage = z.object({
  prompt_tokens: z.int(),
  completion_tokens: z.int(),
  total_tokens: z.int(),
  prompt_tokens_details: z.object({ cached_tokens: z.int() }),
})
export type OpenAiUsage = z.infer<typeof OpenAiUsage>

/** What OpenAI's format has no place for: which weights answered, from which tier, in what company, how fast, at what price. */
export const Extension = z.object({
  /** Digest of the adapter; null: the bare base model. */
  adapter: z.nullable(Digest),
  /** Fingerprint of the base model. */
  base: z.string(),
  tier: z.nullable(Tier),
  cold: z.boolean(),
  batch: z.object({ rows: z.int(), deltas: z.int() }),
  queue_ms: z.number(),
  ttft_ms: z.number(),
  tokens_per_second: z.nullable(z.number()),
  price_nano: z.int(),
})
export type Extension = z.infer<typeof Extension>

const AnswerHead = z.object({
  id: z.string(),
  object: z.enum(['chat.completion', 'chat.completion.chunk', 'text_completion']),
  created: z.int(),
  model: z.string(),
  system_fingerprint: z.string(),
})
export type AnswerHead = z.infer<typeof AnswerHead>

function whole<Choice extends z.ZodMiniType>(object: AnswerHead['object'], choice: Choice) {
  return z.object({
    ...AnswerHead.shape,
    object: z.literal(object),
    choices: z.array(choice),
    usage: OpenAiUsage,
    polylora: Extension,
  })
}

/** `polylora` is in the last chunk with a choice, and in the one with `usage`, which `stream_options` asks for. */
function chunk<Choice extends z.ZodMiniType>(object: AnswerHead['object'], choice: Choice) {
  return z.object({
    ...AnswerHead.shape,
    object: z.literal(object),
    choices: z.array(choice),
    usage: z.optional(z.nullable(OpenAiUsage)),
    polylora: z.optional(Extension),
  })
}

export const ChatCompletion = whole('chat.completion', ChatChoice)
export const ChatCompletionChunk = chunk('chat.completion.chunk', ChatChunkChoice)
export const TextCompletion = whole('text_completion', CompletionChoice)
export const TextCompletionChunk = chunk('text_completion', CompletionChoice)

export const EmbeddingList = z.object({
  object: z.literal('list'),
  model: z.string(),
  data: z.array(
    z.object({
      object: z.literal('embedding'),
      index: z.int(),
      /** Numbers, or little-endian f32 in base64. */
      embedding: z.union([z.array(z.number()), z.string()]),
    }),
  ),
  usage: z.object({ prompt_tokens: z.int(), total_tokens: z.int() }),
})
export type EmbeddingList = z.infer<typeof EmbeddingList>

export const Model = z.object({
  id: z.string(),
  object: z.literal('model'),
  created: z.int(),
  owned_by: z.string(),
  /** Of the adapter's version; absent for the base model. */
  digest: z.optional(Digest),
})
export type Model = z.infer<typeof Model>

/** OpenAI's error format, for every refusal. */
export const ErrorAnswer = z.object({
  error: z.object({
    message: z.string(),
    type: z.string(),
    param: z.nullable(z.string()),
    code: z.string(),
  }),
})
export type ErrorAnswer = z.infer<typeof ErrorAnswer>
