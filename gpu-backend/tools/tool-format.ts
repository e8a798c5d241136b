// How models write calls of tools, known by their chat templates. Knows no request and no tokens.

export interface ToolFormat {
  /** What calls begin with; undefined: an answer that begins with a brace is one. */
  readonly open: string | undefined
  /** What a call ends with; undefined: the answer's end. */
  readonly close: string | undefined
  /** The arguments' name in a call's JSON. */
  readonly argumentsKey: 'arguments' | 'parameters'
  /** What the answer to a prompt is begun with so that the JSON of one call is all that follows. */
  readonly callStart: string
  newId(): string
}

/** Of Hermes, which Qwen2.5 and Qwen3 follow: `<tool_call>{"name": …, "arguments": …}</tool_call>`, any number of them. */
const HERMES: ToolFormat = {
  open: '<tool_call>',
  close: '</tool_call>',
  argumentsKey: 'arguments',
  callStart: '<tool_call>\n',
  newId: openAiId,
}

/** `[TOOL_CALLS] [{"name": …, "arguments": …}, …]` to the end. Its templates take ids of nine letters and digits only. */
const MISTRAL: ToolFormat = {
  open: '[TOOL_CALLS]',
  close: undefined,
  argumentsKey: 'arguments',
  callStart: '[TOOL_CALLS] [',
  newId: () => randomDigits(9),
}

/** Of Llama 3.1 and later: the answer is `{"name": …, "parameters": …}`, several separated by semicolons. */
const LLAMA: ToolFormat = {
  open: undefined,
  close: undefined,
  argumentsKey: 'parameters',
  callStart: '',
  newId: openAiId,
}

/** undefined where the template knows no tools, or has calls written in a way that is not known here. */
export function toolFormatOf(template: string): ToolFormat | undefined {
  if (!/\btools\b/.test(template)) return undefined
  // Newer models of both families write calls without JSON around them.
  if (template.includes('<function=') || template.includes('[ARGS]')) return undefined
  if (template.includes('<tool_call>')) return HERMES
  if (template.includes('[TOOL_CALLS]')) return MISTRAL
  return template.includes('"parameters": ') ? LLAMA : undefined
}

function openAiId(): string {
  return `call_${randomDigits(24)}`
}

/** Hexadecimal, 32 at most. */
function randomDigits(count: number): string {
  return crypto.randomUUID().replaceAll('-', '').slice(0, count)
}
