// `POST /v1/chat/completions`: the request as OpenAI defines it, and the backend's messages made from it.
import * as z from 'zod/mini'
import { ChatMessage, SamplingParams as Sampling, type SamplingParams } from '../../gpu-backend/protocol.ts'
import { ApiError } from '../errors.ts'
import { checkTextRequest, unsupported } from './check-request.ts'
import { choicesField, endUserFields, modelField, streamFields } from './request-fields.ts'
import { keptFormat, samplingFields, toSamplingParams } from './sampling-fields.ts'
import { templateFields } from './template-fields.ts'
import { returnedCallsField, toolFields, toToolCall } from './tools.ts'

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
  tool_calls: returnedCallsField,
  tool_call_id: z.nullish(z.string()),
  /** What an assistant thought, under either name. */
  reasoning: z.nullish(z.string()),
  reasoning_content: z.nullish(z.string()),
})

export const ChatCompletionRequest = z.looseObject({
  model: modelField,
  messages: z.array(Message).check(z.minLength(1), z.maxLength(2048)),
  ...samplingFields,
  ...streamFields,
  ...toolFields,
  ...templateFields,
  n: choicesField,
  max_completion_tokens: z.nullish(z.int().check(z.positive())),
  logprobs: z.nullish(z.boolean()),
  top_logprobs: z.nullish(z.int().check(z.gte(0), z.lte(20))),
  response_format: z.nullish(Sampling.shape.response_format),
  ...endUserFields,
})
export type ChatCompletionRequest = z.infer<typeof ChatCompletionRequest>

const UNSUPPORTED = [
  ...['functions', 'audio', 'prediction', 'web_search_options'],
  // vLLM's, of the text that the messages become.
  ...['echo', 'continue_final_message', 'chat_template', 'documents'],
]

/**
 * The backend's messages: parts joined, everything but the text, what is about tools and what was thought left out.
 * @throws ApiError 400 where a message says nothing
 */
export function toMessages(request: ChatCompletionRequest): ChatMessage[] {
  return request.messages.map(toMessage)
}

function toMessage({ role, ...message }: z.infer<typeof Message>, i: number): ChatMessage {
  const isAssistant = role === 'assistant'
  const content = message.content ?? (isAssistant ? message.refusal : null)
  const calls = isAssistant && message.tool_calls && message.tool_calls.length > 0 ? message.tool_calls : undefined
  const reasoning = isAssistant ? (message.reasoning ?? message.reasoning_content) : null
  if (!calls && !reasoning && (content === null || content === undefined)) {
    throw new ApiError(400, 'invalid_value', `Invalid value for 'messages.${i}.content': it is missing.`, {
      param: 'messages',
    })
  }
  return {
    role,
    content: typeof content === 'string' ? content : (content ?? []).map(textOf).join(''),
    ...(calls ? { tool_calls: calls.map(toToolCall) } : {}),
    ...(role === 'tool' && message.tool_call_id ? { tool_call_id: message.tool_call_id } : {}),
    ...(typeof reasoning === 'string' ? { reasoning_content: reasoning } : {}),
  }
}

function textOf(part: z.infer<typeof Part>): string {
  return part.type === 'text' ? part.text : part.refusal
}

/** @throws ApiError 400 naming the parameter at fault */
export function toChatSampling(request: ChatCompletionRequest): SamplingParams {
  checkTextRequest(request, UNSUPPORTED)
  // vLLM's as well: true is what is done anyway.
  if (request.add_generation_prompt === false) throw unsupported('add_generation_prompt')
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
