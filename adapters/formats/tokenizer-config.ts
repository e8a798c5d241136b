// What the tokenizer's files beside an adapter say of its prompts. They are strangers there: what is of no use is passed over.
// Knows no Jinja. Invariant: nothing of a file is believed but what has the form that transformers gives it.
import * as z from 'zod/mini'
import { type AdapterFile, readText } from '../file-set.ts'

const SpecialToken = z.union([
  z.string(),
  z.pipe(
    z.looseObject({ content: z.string() }),
    z.transform(({ content }) => content),
  ),
])
const TokenizerConfig = z.looseObject({
  bos_token: z.catch(z.optional(SpecialToken), undefined),
  eos_token: z.catch(z.optional(SpecialToken), undefined),
  /** By their ids. */
  added_tokens_decoder: z.catch(z.optional(z.record(z.string(), z.looseObject({ content: z.string() }))), undefined),
  chat_template: z.catch(
    z.optional(z.union([z.string(), z.array(z.looseObject({ name: z.string(), template: z.string() }))])),
    undefined,
  ),
})

export interface TokenizerConfig {
  readonly bosToken: string | undefined
  readonly eosToken: string | undefined
  readonly addedTokens: readonly { readonly id: number; readonly content: string }[]
  readonly chatTemplate: string | undefined
  /** Of conversations with tools, where it is another one. */
  readonly toolTemplate: string | undefined
}

/** tokenizer_config.json; empty where there is no such file, or none that could be read. */
export async function readTokenizerConfig(file: AdapterFile | undefined): Promise<TokenizerConfig> {
  const parsed = TokenizerConfig.safeParse(file && (await tryJson(file)))
  const { bos_token, eos_token, added_tokens_decoder: added, chat_template: templates } = parsed.data ?? {}
  const named = (wanted: string) =>
    typeof templates === 'string' ? undefined : templates?.find(({ name }) => name === wanted)?.template
  return {
    bosToken: bos_token,
    eosToken: eos_token,
    addedTokens: Object.entries(added ?? {}).map(([id, { content }]) => ({ id: Number(id), content })),
    chatTemplate: typeof templates === 'string' ? templates : named('default'),
    toolTemplate: named('tool_use'),
  }
}

/** A JSON file that need not be one: strangers beside an adapter are not its owner's fault. */
export async function tryJson(file: AdapterFile): Promise<unknown> {
  try {
    return JSON.parse(await readText(file))
  } catch {
    return undefined
  }
}
