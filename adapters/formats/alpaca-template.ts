// alpaca-lora's prompt templates (templates/*.json): made into a Jinja chat template, so that they travel with the adapter.
// Follows utils/prompter.py and finetune.py, which leaves the special tokens to the tokenizer.
// Invariant: one user message gives exactly the prompt that training used.
import * as z from 'zod/mini'
import { PLAIN_PROMPT } from '../delta.ts'
import { AdapterError, quote } from '../errors.ts'

const Template = z.looseObject({ prompt_input: z.string(), prompt_no_input: z.string(), response_split: z.string() })

/** Whether a JSON value is one of alpaca-lora's templates. */
export function isAlpacaTemplate(json: unknown): boolean {
  return Template.safeParse(json).success
}

/**
 * A Jinja chat template over `messages`. A user message alone is the instruction (`prompt_no_input`); with a system message
 * the system text is the instruction and the first user message its input (`prompt_input`), which is what alpaca's pairs
 * mean. Earlier turns follow one another, each in the form of the last without the opening sentences, then the answer and
 * a blank line. Throws AdapterError `malformed` for placeholders that the project does not have.
 */
export function alpacaChatTemplate(json: unknown, file: string): string {
  const parsed = Template.safeParse(json)
  if (!parsed.success)
    throw new AdapterError(
      'malformed',
      `${file} lacks prompt_input, prompt_no_input or response_split; take it from alpaca-lora's templates folder.`,
    )
  const plain = pieces(parsed.data.prompt_no_input, ['instruction'], file)
  const paired = pieces(parsed.data.prompt_input, ['instruction', 'input'], file)
  // A later turn leaves out the sentences before the last blank line ahead of the instruction.
  const [opening = ''] = plain
  const cut = typeof opening === 'string' ? opening.lastIndexOf('\n\n', opening.length - 2) + 2 : 0
  const later = typeof opening === 'string' && cut > 1 ? [opening.slice(cut), ...plain.slice(1)] : plain
  const user = 'message.content'
  return [
    PLAIN_PROMPT,
    '{%- set turn = namespace(first=true, system=none) -%}',
    '{%- for message in messages -%}',
    "{%- if message.role == 'system' or message.role == 'developer' -%}",
    '{%- set turn.system = message.content if turn.system is none else turn.system + "\\n\\n" + message.content -%}',
    "{%- elif message.role == 'assistant' -%}",
    '{{- message.content + "\\n\\n" -}}',
    '{%- elif turn.first and turn.system is not none -%}',
    print(paired, { instruction: 'turn.system', input: user }),
    '{%- set turn.first = false -%}',
    '{%- elif turn.first -%}',
    print(plain, { instruction: user }),
    '{%- set turn.first = false -%}',
    '{%- else -%}',
    print(later, { instruction: user }),
    '{%- endif -%}',
    '{%- endfor -%}',
  ].join('')
}

type Piece = string | { readonly field: string }

/** Python's str.format: `{name}` is a field, `{{` and `}}` are braces. */
function pieces(text: string, fields: readonly string[], file: string): Piece[] {
  const result: Piece[] = []
  let literal = ''
  for (const [part] of text.matchAll(/\{\{|\}\}|\{[^{}]*\}|[{}]|[^{}]+/g)) {
    if (part === '{{' || part === '}}') literal += part[0]
    else if (part.length > 1 && part.startsWith('{')) {
      const field = part.slice(1, -1)
      if (!fields.includes(field))
        throw new AdapterError(
          'malformed',
          `${file} has the placeholder ${quote(part)}; only {instruction} and {input} exist.`,
        )
      result.push(literal, { field })
      literal = ''
    } else if (part === '{' || part === '}') {
      throw new AdapterError('malformed', `${file} has a lone ${part}, which Python's str.format refuses; double it.`)
    } else literal += part
  }
  result.push(literal)
  return result
}

function print(items: readonly Piece[], values: Readonly<Record<string, string>>): string {
  const terms = items.map((item) => (typeof item === 'string' ? jinjaString(item) : values[item.field]!))
  return `{{- ${terms.filter((term) => term !== '""').join(' + ')} -}}`
}

/** A Jinja string literal; its escapes are those that Jinja shares with JSON. */
export function jinjaString(text: string): string {
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n').replaceAll('\r', '\\r').replaceAll('\t', '\\t')}"`
}
