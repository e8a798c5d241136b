// The prompt form that an adapter was trained with, where its files say so: alpaca-lora's JSON or a Hugging Face chat template.
// Knows no tensors. Invariant: what it returns is Jinja over `messages`, unrendered; whoever serves it renders it bounded.
import { MAX_CHAT_TEMPLATE_CHARS } from '../canonical.ts'
import { AdapterError } from '../errors.ts'
import { type AdapterFile, baseName, type FileSet, readText } from '../file-set.ts'
import { alpacaChatTemplate, isAlpacaTemplate } from './alpaca-template.ts'

const MAX_FILE_BYTES = 4 * 1024 * 1024

export interface FoundTemplate {
  readonly text: string
  readonly file: string
  readonly kind: 'alpaca' | 'hugging-face'
}

/** Looks at the files directly in `folder` ('' or ending with a slash). Throws AdapterError `too_large`. */
export async function findChatTemplate(files: FileSet, folder: string): Promise<FoundTemplate | undefined> {
  const here = [...files.values()].filter(
    (file) => file.name === folder + baseName(file) && file.size <= MAX_FILE_BYTES,
  )
  for (const file of here.filter(({ name }) => name.endsWith('.json'))) {
    const json = await tryJson(file)
    if (isAlpacaTemplate(json))
      return bounded({ text: alpacaChatTemplate(json, file.name), file: file.name, kind: 'alpaca' })
  }
  const jinja = here.find((file) => baseName(file) === 'chat_template.jinja')
  if (jinja !== undefined) return bounded({ text: await readText(jinja), file: jinja.name, kind: 'hugging-face' })
  const tokenizer = here.find((file) => baseName(file) === 'tokenizer_config.json')
  const text = tokenizer && templateOf(await tryJson(tokenizer))
  return text === undefined ? undefined : bounded({ text, file: tokenizer!.name, kind: 'hugging-face' })
}

function bounded(template: FoundTemplate): FoundTemplate {
  if (template.text.length <= MAX_CHAT_TEMPLATE_CHARS) return template
  throw new AdapterError(
    'too_large',
    `${template.file} holds a chat template of ${template.text.length} characters (at most ${MAX_CHAT_TEMPLATE_CHARS}); remove it.`,
  )
}

/** A JSON file that need not be one: strangers beside an adapter are not its owner's fault. */
async function tryJson(file: AdapterFile): Promise<unknown> {
  try {
    return JSON.parse(await readText(file))
  } catch {
    return undefined
  }
}

/** tokenizer_config.json's chat_template: a string, or a list of named ones of which "default" is meant. */
function templateOf(json: unknown): string | undefined {
  if (typeof json !== 'object' || json === null || !('chat_template' in json)) return undefined
  const value: unknown = json.chat_template
  if (typeof value === 'string') return value
  if (!Array.isArray(value)) return undefined
  const found: unknown = value.find((item) => item?.name === 'default')?.template
  return typeof found === 'string' ? found : undefined
}
