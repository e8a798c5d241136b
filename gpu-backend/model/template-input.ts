// What a chat template is given, as Hugging Face's are. Pure.
import type { ChatMessage, Tool } from '../protocol.ts'

export interface TemplateInput {
  readonly messages: readonly Readonly<Record<string, unknown>>[]
  /** Absent where there are none. */
  readonly tools?: readonly Tool[]
  readonly bos_token: string
  readonly eos_token: string
}

export function templateInput(
  messages: readonly ChatMessage[],
  tools: readonly Tool[] | undefined,
  specials: Pick<TemplateInput, 'bos_token' | 'eos_token'>,
): TemplateInput {
  return { messages: messages.map(templateMessage), ...(tools ? { tools } : {}), ...specials }
}

/** The arguments of calls as what they say: a template makes JSON of them itself. */
function templateMessage({ tool_calls: calls, ...message }: ChatMessage) {
  if (!calls) return message
  const parsed = calls.map(({ function: called, ...call }) => ({
    ...call,
    function: { ...called, arguments: JSON.parse(called.arguments) as unknown },
  }))
  return { ...message, tool_calls: parsed }
}
