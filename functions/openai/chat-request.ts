// `POST /v1/chat/completions`: the request as OpenAI defines it, and the backend's messages made from it.
import * as z from 'zod/mini'
import { ChatMessage, MAX_TOOLS, SamplingParams as Sampling, type SamplingParams } from '../../gpu-backend/protocol.ts'
import { ApiError } from '../errors.ts'
import { keptFormat, refuseUnsupported, requireStreaming, samplingFields, toSamplingParams } from './sampling-fields.ts'
import { ReturnedToolCall, toolFields } from './tools.ts'

const MAX_MODEL_CHARS = 256
const MAX_CHOICES = 16

const Part = z.discriminatedUnion(
  'type',
  [
    z.object({ type: z.literal('text'), text: z.string() }),
    z.object({ type: z.literal('refusal'), refusal: z.string() }),
  ],
  'only text parts can be read here',
)

const Message = z.object({
  role: ChatMessage.shape.role,
  content: z.nullish(z.union([z.string(), z.array(Part)], 'must be a text or a list of text parts')),
  /** What an assistant said instead. */
  refusal: z.nullish(z.string()),
  tool_calls: z.nullish(z.array(ReturnedToolCall).check(z.maxLength(MAX_TOOLS))),
  tool_call_id: z.nullish(z.string()),
})

export const modelField = z.string().check(z.minLength(1), z.maxLength(MAX_MODEL_CHARS))
export const choicesField = z.nullish(z.int().check(z.positive(), z.lte(MAX_CHOICES)))
export const streamFields = {
  stream: z.nullish(z.boolean()),
  stream_options: z.nullish(z.object({ include_usage: z.nullish(z.boolean()) })),
}

export const ChatCompletionRequest = z.looseObject({
  model: modelField,
  messages: z.array(Message).check(z.minLength(1), z.maxLength(2048)),
  ...samplingFields,
  ...streamFields,
  ...toolFields,
  n: choicesField,
  max_completion_tokens: z.nullish(z.int().check(z.positive())),
  logprobs: z.nullish(z.boolean()),
  top_logprobs: z.nullish(z.int().check(z.gte(0), z.lte(20))),
  response_format: z.nullish(Sampling.shape.response_format),
  user: z.nullish(z.string()),
})
export type ChatCompletionRequest = z.infer<typeof ChatCompletionRequest>

const UNSUPPORTED = ['functions', 'audio', 'prediction', 'web_search_options']

/**
 * The backend's messages: parts joined, everything but the text and what is about tools left out.
 * @throws ApiError 400 where a message says nothing
 */
export function toMessages(request: ChatCompletionRequest): ChatMessage[] {
  return request.messages.map(({ role, content: said, refusal, tool_calls: calls, tool_call_id: id }, i) => {
    const content = said ?? (role === 'assistant' ? refusal : null)
    const isCall = role === 'assistant' && calls && calls.length > 0
    if (!isCall && (content === null || content === undefined)) {
      throw new ApiError(400, 'invalid_value', `Invalid value for 'messages.${i}.content': it is missing.`, {
        param: 'messages',
      })
    }
    return {
      role,
      content: typeof content === 'string' ? content : (content ?? []).map(textOf).join(''),
      ...(isCall ? { tool_calls: calls } : {}),
      ...(role === 'tool' && id ? { tool_call_id: id } : {}),
    }
  })
}

function textOf(part: z.infer<typeof Part>): string {
  return part.type === 'text' ? part.text : part.refusal
}

/** @throws ApiError 400 naming the parameter at fault */
export function toChatSampling(request: ChatCompletionRequest): SamplingParams {
  refuseUnsupported(request, UNSUPPORTED)
  requireStreaming(request)
  if (request.top_logprobs && !request.logprobs) {
    throw new ApiError(400, 'invalid_value', "'top_logprobs' needs 'logprobs' to be true.", { param: 'top_logprobs' })
  }
  const maxTokens = request.max_completion_tokens ?? request.max_tokens
  return toSamplingParams(request, {
    ...(maxTokens ? { max_tokens: maxTokens } : {}),
    ...(request.logprobs ? { logprobs: request.top_logprobs ?? 0 } : {}),
    ...keptFormat(request.response_format),
  })
}
