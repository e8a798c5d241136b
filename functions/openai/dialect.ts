// How one route writes its choices, whole or piece by piece. Two exist: chat completions and text completions.
// Knows nothing of HTTP, of metering or of where the text comes from.
import type { FinishReason, TokenLogprob, ToolCall } from '../../gpu-backend/protocol.ts'
import type {
  AnswerHead,
  ChatChoice,
  ChatChunkChoice,
  ChatLogprobs,
  CompletionChoice,
  CompletionLogprobs,
} from './answer-schemas.ts'

/** A piece of one choice, or the whole of it. */
export interface ChoicePart {
  readonly index: number
  readonly text: string
  /** Characters of the choice before this piece. */
  readonly offset: number
  /** The first piece of its choice. */
  readonly first: boolean
  readonly reason: FinishReason | null
  readonly logprobs: readonly TokenLogprob[] | undefined
  readonly calls: readonly ToolCall[]
  /** Calls of the choice before this piece. */
  readonly callsBefore: number
}

export interface Dialect<Choice = ChatChoice | CompletionChoice, ChunkChoice = ChatChunkChoice | CompletionChoice> {
  readonly idPrefix: string
  readonly object: AnswerHead['object']
  readonly chunkObject: AnswerHead['object']
  /** An entry of `choices` in the whole answer. */
  choice(part: ChoicePart): Choice
  /** An entry of `choices` in a streamed chunk. */
  chunkChoice(part: ChoicePart): ChunkChoice
}

export const chatDialect: Dialect<ChatChoice, ChatChunkChoice> = {
  idPrefix: 'chatcmpl-',
  object: 'chat.completion',
  chunkObject: 'chat.completion.chunk',
  choice: ({ index, text, reason, logprobs, calls }) => ({
    index,
    message: {
      role: 'assistant',
      content: text === '' && calls.length > 0 ? null : text,
      refusal: null,
      ...(calls.length > 0 ? { tool_calls: [...calls] } : {}),
    },
    logprobs: chatLogprobs(logprobs),
    finish_reason: finishReason(reason),
  }),
  chunkChoice: ({ index, text, first, reason, logprobs, calls, callsBefore }) => ({
    index,
    delta: {
      ...(first ? { role: 'assistant' as const } : {}),
      ...(text || (first && calls.length === 0) ? { content: text } : {}),
      ...(calls.length > 0 ? { tool_calls: calls.map((call, i) => ({ index: callsBefore + i, ...call })) } : {}),
    },
    logprobs: chatLogprobs(logprobs),
    finish_reason: finishReason(reason),
  }),
}

export const completionDialect: Dialect<CompletionChoice, CompletionChoice> = {
  idPrefix: 'cmpl-',
  object: 'text_completion',
  chunkObject: 'text_completion',
  choice: completionChoice,
  chunkChoice: completionChoice,
}

function completionChoice({ index, text, offset, reason, logprobs }: ChoicePart): CompletionChoice {
  return { index, text, logprobs: completionLogprobs(logprobs, offset), finish_reason: finishReason(reason) }
}

/** OpenAI knows no deadline: to its clients the answer was cut, as by a length. */
function finishReason(reason: FinishReason | null): ChatChoice['finish_reason'] {
  return reason === 'deadline' ? 'length' : reason
}

function chatLogprobs(logprobs: readonly TokenLogprob[] | undefined): ChatLogprobs {
  if (!logprobs) return null
  const entry = (named: Omit<TokenLogprob, 'top'>) => ({
    token: named.token,
    logprob: named.logprob,
    bytes: [...bytesOf(named)],
  })
  return {
    content: logprobs.map((token) => ({ ...entry(token), top_logprobs: token.top.map(entry) })),
    refusal: null,
  }
}

function completionLogprobs(logprobs: readonly TokenLogprob[] | undefined, offset: number): CompletionLogprobs {
  if (!logprobs) return null
  let position = offset
  const decoder = new TextDecoder('utf-8', { fatal: false, ignoreBOM: true })
  return {
    tokens: logprobs.map(({ token }) => token),
    token_logprobs: logprobs.map(({ logprob }) => logprob),
    // The chosen token is always named, as OpenAI has it here, unlike in chats.
    top_logprobs: logprobs.map((chosen) =>
      Object.fromEntries([...chosen.top, chosen].map(({ token, logprob }) => [token, logprob])),
    ),
    text_offset: logprobs.map((named) => {
      // What backends of older versions do not say is counted from the piece's beginning.
      const start = named.offset ?? position
      // A character of several tokens is there with the last of them.
      position = start + Array.from(decoder.decode(bytesOf(named), { stream: true })).length
      return start
    }),
  }
}

function bytesOf({ token, bytes }: Omit<TokenLogprob, 'top'>): Uint8Array {
  return bytes ? Uint8Array.from(bytes) : new TextEncoder().encode(token)
}
