// A chat template that renders as transformers renders it (utils/chat_template_utils.py): @huggingface/jinja, and what that
// leaves to do. Knows no tokens. Invariant: a template is a program of bounded power, but its time and memory are not bounded.
import { Template } from '@huggingface/jinja'
import type { TemplateInput } from './template-input.ts'

/** Python's methods that take the characters to strip, which @huggingface/jinja ignores: Qwen's and SmolLM's templates need them. */
const STRIPS: Readonly<Record<string, (text: string, characters: string) => string>> = {
  strip: (text, characters) => stripEnd(stripStart(text, characters), characters),
  lstrip: stripStart,
  rstrip: stripEnd,
}
/** They go by names that no template can write. */
const FUNCTIONS = Object.fromEntries(Object.entries(STRIPS).map(([name, strip]) => [hiddenName(name), strip]))

export class ChatTemplate {
  readonly #template: Template

  /** @throws Error when `text` is not a template */
  constructor(text: string) {
    // As Jinja does: a template that was saved on Windows means the same.
    this.#template = new Template(text.replace(/\r\n?/g, '\n'))
    rewriteStrips(this.#template.parsed)
  }

  /** The prompt up to where the assistant's answer starts. @throws Error when the template refuses `input` */
  render(input: TemplateInput): string {
    // No tools and no documents are none, not undefined: `tools is not none` would hold.
    return this.#template.render({ tools: null, documents: null, add_generation_prompt: true, ...input, ...FUNCTIONS })
  }
}

function stripStart(text: string, characters: string): string {
  let start = 0
  while (start < text.length && characters.includes(text[start]!)) start++
  return text.slice(start)
}

function stripEnd(text: string, characters: string): string {
  let end = text.length
  while (end > 0 && characters.includes(text[end - 1]!)) end--
  return text.slice(0, end)
}

function hiddenName(method: string): string {
  return `${method} with characters`
}

interface Node {
  type?: unknown
  value?: unknown
  object?: unknown
  property?: Node
  callee?: Node
  args?: unknown[]
}

/** Every `text.lstrip(characters)` of a syntax tree becomes a call of the function above. */
function rewriteStrips(node: unknown): void {
  if (typeof node !== 'object' || node === null) return
  const { type, callee, args } = node as Node
  const method = callee?.type === 'MemberExpression' ? String(callee.property?.value) : ''
  if (type === 'CallExpression' && args?.length === 1 && Object.hasOwn(STRIPS, method)) {
    const call = { callee: { type: 'Identifier', value: hiddenName(method) }, args: [callee!.object, ...args] }
    Object.assign(node, call)
  }
  // An object literal's entries are a Map.
  for (const child of node instanceof Map ? [...node].flat() : Object.values(node)) rewriteStrips(child)
}
