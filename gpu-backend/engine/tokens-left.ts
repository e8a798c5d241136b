// What a context leaves for an answer. Pure.
import { BackendError } from '../errors.ts'

/**
 * Tokens that may be generated after a prompt of `promptTokens` in a context of `contextTokens`: `wanted`, or all that is left.
 * @throws BackendError where the prompt is empty, or it and what is wanted do not fit
 */
export function tokensLeft(contextTokens: number, promptTokens: number, wanted: number | undefined): number {
  if (promptTokens === 0) throw new BackendError('bad_request', 'The prompt is empty: send at least one token.')
  if (promptTokens + (wanted ?? 1) <= contextTokens) return wanted ?? contextTokens - promptTokens
  const parts =
    wanted === undefined
      ? `the prompt has ${promptTokens} tokens`
      : `the prompt has ${promptTokens} tokens and max_tokens is ${wanted}`
  throw new BackendError(
    'context_length_exceeded',
    // OpenAI's words, by which clients know when to shorten a conversation.
    `This model's maximum context length is ${contextTokens} tokens, but ${parts}: shorten them.`,
  )
}
