// What a chat template is given, as Hugging Face's are. Pure.
import type { ChatMessage, GenerateRequest, Tool } from '../protocol.ts'
import { exactJson } from './written-numbers.ts'

/** What a request says to the template beside its messages. */
export type TemplateExtras = Pick<GenerateRequest, 'tools' | 'chat_template_kwargs'>

export interface TemplateInput {
  /** What the request sets. */
  readonly [name: string]: unknown
  readonly messages: readonly TemplateMessage[]
  /** Absent where there are none. */
  readonly tools?: readonly Tool[]
  readonly bos_token: string
  readonly eos_token: string
}

type TemplateMessage = Readonly<Record<string, unknown>>

export type SpecialTokens = Pick<TemplateInput, 'bos_token' | 'eos_token'>

/** Numbers in the arguments of calls stay as they were written. */
export function templateInput(
  messages: readonly ChatMessage[],
  { tools, chat_template_kwargs: kwargs }: TemplateExtras,
  specials: SpecialTokens,
): TemplateInput {
  const names = new Map<string, string>()
  for (const { tool_calls: calls = [] } of messages) {
    for (const { id, function: called } of calls) names.set(id, called.name)
  }
  return {
    ...kwargs,
    messages: messages.map((message) => templateMessage(message, names)),
    ...(tools ? { tools } : {}),
    ...specials,
  }
}

/**
 * The arguments of calls as what they say, since a template makes JSON of them itself; results with their tools' names; what was
 * thought under both of its names: Qwen3's template reads the first, others the second. What OpenAI calls a developer is the
 * system: Qwen's templates leave a developer's messages out, others refuse them, and gpt-oss's takes both for the same.
 */
function templateMessage({ tool_calls: calls, ...message }: ChatMessage, names: ReadonlyMap<string, string>) {
  const name = names.get(message.tool_call_id ?? '')
  const { reasoning_content: reasoning } = message
  const parsed = calls?.map(({ function: called, ...call }) => ({
    ...call,
    function: { ...called, arguments: exactJson(called.arguments) },
  }))
  return {
    ...message,
    role: message.role === 'developer' ? 'system' : message.role,
    ...(reasoning === undefined ? {} : { reasoning }),
    ...(name === undefined ? {} : { name }),
    ...(parsed ? { tool_calls: parsed } : {}),
  }
}

/** Messages with one call each at most: of several in one message each is followed by its own result, as if they had come in turn. */
export function oneCallEach(messages: readonly TemplateMessage[]): TemplateMessage[] {
  const apart: TemplateMessage[] = []
  for (let i = 0; i < messages.length; ) {
    const message = messages[i++]!
    const calls = (message.tool_calls ?? []) as readonly { readonly id: string }[]
    if (calls.length < 2) {
      apart.push(message)
      continue
    }
    const results: TemplateMessage[] = []
    while (messages[i]?.role === 'tool') results.push(messages[i++]!)
    const resultsOf = Map.groupBy(results, (result) => result.tool_call_id)
    for (const [n, call] of calls.entries()) {
      const said = n === 0 ? message : { role: message.role, content: '' }
      apart.push({ ...said, tool_calls: [call] }, ...(resultsOf.get(call.id) ?? []))
      resultsOf.delete(call.id)
    }
    apart.push(...[...resultsOf.values()].flat())
  }
  return apart
}
