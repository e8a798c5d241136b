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
/** Python's comparisons, where JavaScript's `==` has it that "" and "  " are false: Llama 2's template asks whether a text is. */
const COMPARISONS: Readonly<Record<string, (x: unknown, y: unknown) => boolean>> = {
  '==': equals,
  '!=': (x, y) => !equals(x, y),
}
/** They go by names that no template can write. */
const FUNCTIONS = Object.fromEntries(
  Object.entries({ ...STRIPS, ...COMPARISONS }).map(([name, call]) => [hiddenName(name), call]),
)

export class ChatTemplate {
  readonly #template: Template

  /** @throws Error when `text` is not a template */
  constructor(text: string) {
    // As Jinja does: a template that was saved on Windows means the same.
    this.#template = new Template(text.replace(/\r\n?/g, '\n'))
    rewrite(this.#template.parsed)
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

/** Of truth values and numbers, those are 0 and 1; anything else is equal to its own kind alone. */
function equals(x: unknown, y: unknown): boolean {
  const number = (value: unknown) => (typeof value === 'boolean' ? Number(value) : value)
  return number(x) === number(y)
}

function hiddenName(name: string): string {
  return `python's ${name}`
}

/** What is read of a node of @huggingface/jinja's syntax tree. */
interface Node {
  readonly type?: unknown
  readonly value?: unknown
  readonly object?: unknown
  readonly property?: Node
  readonly callee?: Node
  readonly args?: readonly unknown[]
  readonly operator?: { readonly value: string }
  readonly left?: unknown
  readonly right?: unknown
}

/** Every `text.lstrip(characters)` and every comparison of a syntax tree becomes a call of a function above. */
function rewrite(node: unknown): void {
  if (typeof node !== 'object' || node === null) return
  const { type, callee, args, operator, left, right }: Node = node
  const method = callee?.type === 'MemberExpression' ? String(callee.property?.value) : ''
  if (type === 'CallExpression' && args?.length === 1 && Object.hasOwn(STRIPS, method)) {
    Object.assign(node, call(method, [callee!.object, ...args]))
  } else if (type === 'BinaryExpression' && Object.hasOwn(COMPARISONS, operator!.value)) {
    // Each side is in one place alone: a chain of comparisons would else be walked through twice as often with each of them.
    Object.assign(node, { left: undefined, right: undefined, ...call(operator!.value, [left, right]) })
  }
  // An object literal's entries are a Map.
  for (const child of node instanceof Map ? [...node].flat() : Object.values(node)) rewrite(child)
}

function call(name: string, args: readonly unknown[]): Node {
  return { type: 'CallExpression', callee: { type: 'Identifier', value: hiddenName(name) }, args }
}
