// What a chat template is given, as Hugging Face's are. Pure.
import type { ChatMessage, Tool } from '../protocol.ts'

export interface TemplateInput {
  readonly messages: readonly Readonly<Record<string, unknown>>[]
  /** Absent where there are none. */
  readonly tools?: readonly Tool[]
  readonly bos_token: string
  readonly eos_token: string
}

/** `tools`: those that the template shall offer; undefined: none. */
export function templateInput(
  messages: readonly ChatMessage[],
  tools: readonly Tool[] | undefined,
  specials: Pick<TemplateInput, 'bos_token' | 'eos_token'>,
): TemplateInput {
  const names = new Map<string, string>()
  for (const { tool_calls: calls = [] } of messages) {
    for (const { id, function: called } of calls) names.set(id, called.name)
  }
  return {
    messages: messages.map((message) => templateMessage(message, names)),
    ...(tools ? { tools } : {}),
    ...specials,
  }
}

/** The arguments of calls as what they say, since a template makes JSON of them itself; results with their tools' names. */
function templateMessage({ tool_calls: calls, ...message }: ChatMessage, names: ReadonlyMap<string, string>) {
  const name = names.get(message.tool_call_id ?? '')
  if (!calls) return name === undefined ? message : { ...message, name }
  const parsed = calls.map(({ function: called, ...call }) => ({
    ...call,
    function: { ...called, arguments: JSON.parse(called.arguments) as unknown },
  }))
  return { ...message, tool_calls: parsed }
}
