// How many tokens a request will use, before anything is counted: what its tenant's limits are asked for, and the most, which
// a prepaid balance has to cover. Pure. What a chat template adds to messages is known to the backends alone.
import { type ChatMessage, choicesOf, type GenerateRequest, promptsOf } from '../../gpu-backend/protocol.ts'

export interface TokensWanted {
  readonly expected: Tokens
  readonly most: Tokens
}

interface Tokens {
  readonly prompt: number
  readonly completion: number
}

/** Characters that make a token as a rule. */
const CHARS_PER_TOKEN = 3
/** Expected of an answer whose length the request leaves open. */
const OPEN_ENDED_TOKENS = 512

/** Of texts that are only read. A token has a byte at least, and one may be set before each text. */
export function tokensOfTexts(texts: readonly string[]): TokensWanted {
  const text = texts.join('')
  const most = new TextEncoder().encode(text).byteLength + texts.length
  return {
    expected: { prompt: Math.ceil(text.length / CHARS_PER_TOKEN), completion: 0 },
    most: { prompt: most, completion: 0 },
  }
}

/** Of a generation: each choice has `max_tokens` at most, or where that is not given `contextTokens`, if they are known. */
export function tokensOfGeneration(
  request: Pick<GenerateRequest, 'messages' | 'prompt' | 'tools' | 'chat_template_kwargs' | 'n' | 'sampling'>,
  contextTokens: number | undefined,
): TokensWanted {
  const prompts = request.messages?.flatMap(textsOf) ?? promptsOf(request.prompt ?? '')
  const texts = prompts.filter((prompt) => typeof prompt === 'string')
  const given = prompts.reduce((sum, prompt) => sum + (typeof prompt === 'string' ? 0 : prompt.length), 0)
  const shaped = [request.tools, request.chat_template_kwargs].filter((value) => value !== undefined)
  const read = tokensOfTexts([...texts, ...shaped.map((value) => JSON.stringify(value))])
  const { max_tokens: maxTokens } = request.sampling
  const choices = choicesOf(request)
  return {
    expected: { prompt: given + read.expected.prompt, completion: (maxTokens ?? OPEN_ENDED_TOKENS) * choices },
    most: { prompt: given + read.most.prompt, completion: (maxTokens ?? contextTokens ?? OPEN_ENDED_TOKENS) * choices },
  }
}

/** What a template may write of a message. */
function textsOf({ content, tool_calls: calls, reasoning_content: reasoning }: ChatMessage): string[] {
  return [content, ...(calls ? [JSON.stringify(calls)] : []), ...(reasoning === undefined ? [] : [reasoning])]
}
