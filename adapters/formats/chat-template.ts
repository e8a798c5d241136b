// The prompt form that an adapter was trained with, where its files say so: alpaca-lora's JSON or a Hugging Face chat template.
// Knows no tensors. Invariant: what it returns is Jinja over `messages`, unrendered; whoever serves it renders it bounded.
import { MAX_CHAT_TEMPLATE_CHARS } from '../canonical.ts'
import { AdapterError, quote } from '../errors.ts'
import { baseName, type FileSet, readText } from '../file-set.ts'
import { alpacaChatTemplate, isAlpacaTemplate, jinjaString } from './alpaca-template.ts'
import { readTokenizerConfig, type TokenizerConfig, tryJson } from './tokenizer-config.ts'

const MAX_FILE_BYTES = 4 * 1024 * 1024
const TOOL_TEMPLATE = 'additional_chat_templates/tool_use.jinja'

export interface FoundTemplate {
  readonly text: string
  readonly file: string
  readonly kind: 'alpaca' | 'hugging-face'
  /** Special tokens that it writes and that are the adapter's own, as a notice has them. */
  readonly tokens: readonly string[]
}

/** How an adapter's prompts were made. */
export interface PromptForm {
  readonly template: FoundTemplate | undefined
  /** What its tokenizer has beside the vocabulary that it began with, the base model's own special tokens among them. */
  readonly addedTokens: TokenizerConfig['addedTokens']
}

/**
 * Looks at the files directly in `folder` ('' or ending with a slash), then at those in the one above it: PEFT saves an adapter
 * that has a name into a folder of its own, and the trainer its tokenizer beside that. Throws AdapterError `too_large`.
 */
export async function findPromptForm(files: FileSet, folder: string): Promise<PromptForm> {
  const here = await readPromptForm(files, folder)
  if (here.template !== undefined || folder === '') return here
  const above = await readPromptForm(files, folder.slice(0, folder.lastIndexOf('/', folder.length - 2) + 1))
  return above.template === undefined ? here : above
}

async function readPromptForm(files: FileSet, folder: string): Promise<PromptForm> {
  const small = [...files.values()].filter((file) => file.size <= MAX_FILE_BYTES)
  const here = small.filter((file) => file.name === folder + baseName(file))
  const named = (name: string) => small.find((file) => file.name === folder + name)
  const configFile = named('tokenizer_config.json')
  const config = await readTokenizerConfig(configFile)
  const { addedTokens } = config
  for (const file of here.filter(({ name }) => name.endsWith('.json'))) {
    const json = await tryJson(file)
    if (!isAlpacaTemplate(json)) continue
    const text = alpacaChatTemplate(json, file.name)
    return { addedTokens, template: bounded({ text, file: file.name, kind: 'alpaca', tokens: [] }) }
  }
  const jinja = named('chat_template.jinja')
  if (jinja !== undefined) {
    const tool = named(TOOL_TEMPLATE)
    const text = withToolTemplate(await readText(jinja), tool && (await readText(tool)))
    return { addedTokens, template: withTokens(text, jinja.name, config) }
  }
  const { chatTemplate, toolTemplate } = config
  if (chatTemplate === undefined) return { addedTokens, template: undefined }
  return { addedTokens, template: withTokens(withToolTemplate(chatTemplate, toolTemplate), configFile!.name, config) }
}

/** One template that does what the two do, each for its conversations: one alone travels with an adapter. */
function withToolTemplate(template: string, toolTemplate: string | undefined): string {
  if (toolTemplate === undefined) return template
  // Jinja leaves out the line's end after a tag, a template's last one, and spaces before a tag that is alone in its line.
  const part = (text: string) => `\n${text.replace(/(?:\r\n|\r|\n)$/, '')}{{ "" }}`
  return `{% if tools %}${part(toolTemplate)}{% else %}${part(template)}{% endif %}`
}

/** The template with the special tokens of the tokenizer that it was written for: the base model's may be others. */
function withTokens(text: string, file: string, { bosToken, eosToken }: TokenizerConfig): FoundTemplate {
  const given = Object.entries({ bos_token: bosToken, eos_token: eosToken }).flatMap(([name, token]) =>
    token !== undefined && new RegExp(`\\b${name}\\b`).test(text) ? [{ name, token }] : [],
  )
  const settings = given.map(({ name, token }) => `{% set ${name} = ${jinjaString(token)} %}\n`)
  const tokens = given.map(({ name, token }) => `${name} ${quote(token)}`)
  return bounded({ text: settings.join('') + text, file, kind: 'hugging-face', tokens })
}

function bounded(template: FoundTemplate): FoundTemplate {
  if (template.text.length <= MAX_CHAT_TEMPLATE_CHARS) return template
  throw new AdapterError(
    'too_large',
    `${template.file} holds a chat template of ${template.text.length} characters (at most ${MAX_CHAT_TEMPLATE_CHARS}); remove it.`,
  )
}
