// A chat template that renders as transformers renders it (utils/chat_template_utils.py): @huggingface/jinja, and what that
// leaves to do. Knows no tokens. Invariant: a template is a program of bounded power, but its time and memory are not bounded.
import { Template } from '@huggingface/jinja'
import { pythonText, type RuntimeValue, strftime } from './python-text.ts'
import { oneCallEach, type TemplateInput } from './template-input.ts'
import { plainNumbers, WrittenNumber, writeNumbers } from './written-numbers.ts'

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
/** Of one value, in a list. */
const TEXT = 'str'
/** Of what stands in the brackets of `dict[key]`. */
const KEY = 'key'
/** Of the messages, in a list: has their numbers written as they are. */
const NUMBERS = 'numbers'
/** The library's own writes months in the language of the server, and knows few of Python's codes. */
const NOW = 'strftime_now'
/** They go by names that no template can write. */
const FUNCTIONS = Object.fromEntries(
  Object.entries({
    ...STRIPS,
    ...COMPARISONS,
    [NOW]: (format: string) => strftime(new Date(), format),
    [TEXT]: ([value]: readonly [RuntimeValue]) => pythonText(value),
    // No dictionary has such a key.
    [KEY]: (key: unknown) => (key === undefined ? hiddenName('undefined') : number(key)),
  }).map(([name, call]) => [hiddenName(name), call]),
)
/** Filters that make a text of what they are given, where @huggingface/jinja wants one or writes JSON. */
const TEXT_FILTERS = ['string', 'upper', 'lower', 'capitalize', 'title', 'trim', 'replace']
/** Where a template's syntax tree has what it writes out. */
const OUTPUTS = ['body', 'alternate', 'defaultBlock']
/** What stands there and is no value, or a text already. */
const NO_VALUES = [
  ...['StringLiteral', 'Program', 'If', 'For', 'Set', 'Macro', 'Break', 'Continue', 'Comment'],
  ...['CallStatement', 'FilterStatement'],
]

/** Whether a template takes messages with one call each and refuses others, as Llama 3.1's does. */
export function takesOneCall(template: string): boolean {
  return /tool_calls\s*\|\s*length\s*==\s*1(?!\d)/.test(template)
}

export class ChatTemplate {
  readonly #template: Template
  readonly #takesOneCall: boolean

  /** @throws Error when `text` is not a template */
  constructor(text: string) {
    // As Jinja does: a template that was saved on Windows means the same.
    this.#template = new Template(text.replace(/\r\n?/g, '\n'))
    rewrite(this.#template.parsed)
    const begin = call(NUMBERS, [listOf({ type: 'Identifier', value: 'messages' })])
    Object.assign(this.#template.parsed, { body: [begin, ...this.#template.parsed.body] })
    this.#takesOneCall = takesOneCall(text)
  }

  /** The prompt up to where the assistant's answer starts. @throws Error when the template refuses `input` */
  render(input: TemplateInput): string {
    const messages = this.#takesOneCall ? oneCallEach(input.messages) : input.messages
    const given = {
      // No tools and no documents are none, not undefined: `tools is not none` would hold.
      ...{ tools: null, documents: null, add_generation_prompt: true },
      ...{ ...input, messages: plainNumbers(messages) },
      [hiddenName(NUMBERS)]: ([values]: readonly [RuntimeValue]) => writeNumbers(messages, values),
    }
    return this.#template.render({ ...given, ...FUNCTIONS })
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

/** Of truth values and numbers, those are 0 and 1; anything else is equal to its own kind alone, lists and the like by what they hold. */
function equals(x: unknown, y: unknown): boolean {
  if (Array.isArray(x) && Array.isArray(y)) {
    return x.length === y.length && x.every((item: RuntimeValue, i) => equals(item.value, (y[i] as RuntimeValue).value))
  }
  if (x instanceof Map && y instanceof Map) {
    return x.size === y.size && [...x].every(([key, item]) => y.has(key) && equals(item.value, y.get(key).value))
  }
  const truth = (value: unknown) => (typeof value === 'boolean' ? Number(value) : number(value))
  return truth(x) === truth(y)
}

function number(value: unknown): unknown {
  return value instanceof WrittenNumber ? Number(value) : value
}

function hiddenName(name: string): string {
  return `python's ${name}`
}

/** What is read of a node of @huggingface/jinja's syntax tree. */
interface Node {
  readonly type?: unknown
  readonly value?: unknown
  readonly object?: unknown
  readonly computed?: boolean
  readonly property?: Node
  readonly callee?: Node
  readonly args?: readonly unknown[]
  readonly operator?: { readonly value: string }
  readonly operand?: unknown
  readonly filter?: Node
  readonly left?: unknown
  readonly right?: unknown
}

/** What Python does otherwise becomes calls of the functions above, all over a syntax tree. */
function rewrite(node: unknown): void {
  if (typeof node !== 'object' || node === null) return
  const { type, callee, args, operator, left, right, operand, filter, computed, property }: Node = node
  const method = callee?.type === 'MemberExpression' ? String(callee.property?.value) : ''
  if (type === 'CallExpression' && args?.length === 1 && Object.hasOwn(STRIPS, method)) {
    Object.assign(node, call(method, [callee!.object, ...args]))
  } else if (type === 'CallExpression' && callee?.type === 'Identifier' && callee.value === NOW) {
    Object.assign(node, call(NOW, args!))
  } else if (type === 'BinaryExpression' && Object.hasOwn(COMPARISONS, operator!.value)) {
    // Each side is in one place alone: a chain of comparisons would else be walked through twice as often with each of them.
    Object.assign(node, { left: undefined, right: undefined, ...call(operator!.value, [left, right]) })
  } else if (type === 'BinaryExpression' && operator!.value === '~') {
    Object.assign(node, { left: textOf(left), right: textOf(right) })
  } else if (type === 'BinaryExpression' && operator!.value === '+') {
    Object.assign(node, { left: argumentsText(left), right: argumentsText(right) })
  } else if (type === 'FilterExpression' && TEXT_FILTERS.includes(String((filter!.callee ?? filter!).value))) {
    Object.assign(node, { operand: textOf(operand) })
  } else if (type === 'MemberExpression' && computed && property!.type !== 'SliceExpression') {
    Object.assign(node, { property: call(KEY, [property]) })
  }
  for (const name of OUTPUTS) {
    const outputs = (node as Record<string, unknown>)[name]
    if (Array.isArray(outputs)) Object.assign(node, { [name]: outputs.map(written) })
  }
  // An object literal's entries are a Map.
  for (const child of node instanceof Map ? [...node].flat() : Object.values(node)) rewrite(child)
}

/**
 * DeepSeek's template adds a call's arguments to a text, as which OpenAI has them. Here they are what they say, which would become
 * `[object Map]`, and fails in Python.
 */
function argumentsText(side: unknown): unknown {
  const { type, property } = side as Node
  if (type !== 'MemberExpression' || property?.value !== 'arguments') return side
  return { type: 'FilterExpression', operand: side, filter: { type: 'Identifier', value: 'tojson' } }
}

function written(node: Node): Node {
  return NO_VALUES.includes(String(node.type)) ? node : textOf(node)
}

/** In a list, since a function is told what kinds of values a list's are, and not of what kind it is given itself. */
function textOf(value: unknown): Node {
  return call(TEXT, [listOf(value)])
}

function listOf(value: unknown): Node {
  return { type: 'ArrayLiteral', value: [value] }
}

function call(name: string, args: readonly unknown[]): Node {
  return { type: 'CallExpression', callee: { type: 'Identifier', value: hiddenName(name) }, args }
}
