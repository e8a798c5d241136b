// Text to tokens and back, and messages to a prompt, as the model's own files say: tokenizer.json and its chat template.
// The work is done by @huggingface/tokenizers and chat-template.ts; this adds only streaming.
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers'
import { PLAIN_PROMPT } from '../../adapters/delta.ts'
import { BackendError, StartupError } from '../errors.ts'
import type { ChatMessage } from '../protocol.ts'
import { ChatTemplate } from './chat-template.ts'
import { withExactSplits } from './exact-splits.ts'
import type { TokenizerFiles } from './model-source.ts'
import { type SpecialTokens, type TemplateExtras, templateInput } from './template-input.ts'
import { tokenBytes } from './token-bytes.ts'
import { fallBackToBytes } from './unigram-bytes.ts'

/** `plain` gets the special tokens that the tokenizer adds by itself; `rendered` by a chat template has them already. */
export type PromptKind = 'plain' | 'rendered'

/** What the text is that an adapter's own chat template has rendered; of the model's, where it has none. */
export function kindRendered(adapterTemplate: string | undefined): PromptKind {
  return adapterTemplate?.startsWith(PLAIN_PROMPT) ? 'plain' : 'rendered'
}

/** No space before a full stop is taken out, which many tokenizers' files ask for: text that is out already would change. */
const AS_IT_IS = { clean_up_tokenization_spaces: false }

/** Throws where bytes end within a character. */
const WHOLE_TEXT = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** What a tokenizer is made of: enough to make the same one in another thread. */
export interface TokenizerSource {
  readonly files: TokenizerFiles
  /** The model's, which may end before the tokenizer's: files with tokens that nobody trained are common. */
  readonly vocabSize: number
}

export class Tokenizer {
  readonly source: TokenizerSource
  /** Tokens that end an answer. */
  readonly eosTokenIds: readonly number[]
  readonly #tokenizer: HuggingFaceTokenizer
  /** Special tokens, which no text is shown for. */
  readonly #hidden: ReadonlySet<number>
  readonly #hiddenTexts: ReadonlySet<string>
  /** What chat templates are given besides the messages. */
  readonly specials: SpecialTokens
  readonly #template: ChatTemplate | undefined
  /** Of conversations with tools. */
  readonly #toolTemplate: ChatTemplate | undefined
  /** Of each token; found when they are first asked for. */
  #bytes: (Uint8Array | undefined)[] | undefined

  /** @throws StartupError when the files are not a tokenizer or the chat template is not one */
  constructor(files: TokenizerFiles, vocabSize = Number.POSITIVE_INFINITY) {
    try {
      this.#tokenizer = new HuggingFaceTokenizer(withExactSplits(files.tokenizer), files.config)
      fallBackToBytes(this.#tokenizer, files.tokenizer)
      this.#template = files.chatTemplate === undefined ? undefined : new ChatTemplate(files.chatTemplate)
      this.#toolTemplate = files.toolTemplate === undefined ? this.#template : new ChatTemplate(files.toolTemplate)
    } catch (error) {
      throw new StartupError(`The model's tokenizer.json or chat template cannot be read: ${(error as Error).message}.`)
    }
    const added = [...this.#tokenizer.get_added_tokens_decoder()]
    const hidden = added.filter(([, { special }]) => special)
    this.#hidden = new Set(hidden.map(([id]) => id))
    this.#hiddenTexts = new Set(hidden.map(([, { content }]) => content))
    this.specials = { bos_token: files.bosToken, eos_token: files.eosToken }
    this.eosTokenIds = files.eosTokenIds
    this.source = { files, vocabSize }
  }

  /**
   * Token ids of a plain prompt, with the special tokens that the tokenizer adds by itself.
   * @throws BackendError `bad_request` when one of them is beyond the model's vocabulary
   */
  encode(text: string): Int32Array {
    return this.known(this.#tokenizer.encode(text).ids)
  }

  /**
   * Token ids of a conversation up to where the assistant's answer starts.
   * @throws BackendError `bad_request` when the model's template refuses these messages, or as `encode`
   */
  encodeChat(messages: readonly ChatMessage[], extras: TemplateExtras = {}): Int32Array {
    return this.encodeRendered(this.renderChat(messages, extras))
  }

  /** Token ids of a conversation that a template has rendered already, special tokens and all. @throws as `encode` */
  encodeRendered(text: string): Int32Array {
    return this.known(this.#tokenizer.encode(text, { add_special_tokens: false }).ids)
  }

  /** Token ids of a text of either kind. @throws as `encode` */
  encodeAs(text: string, kind: PromptKind): Int32Array {
    return kind === 'plain' ? this.encode(text) : this.encodeRendered(text)
  }

  /** The same ids. @throws as `encode` */
  known(ids: readonly number[]): Int32Array {
    const beyond = ids.find((id) => id >= this.source.vocabSize)
    if (beyond === undefined) return Int32Array.from(ids)
    throw new BackendError(
      'bad_request',
      `The prompt holds ${JSON.stringify(this.tokenText(beyond))} (token ${beyond}), which this base model has no embedding for: leave it out.`,
    )
  }

  /** The text of the template that `renderChat` renders such a conversation with. */
  templateOf({ tools }: Pick<TemplateExtras, 'tools'>): string | undefined {
    const { chatTemplate, toolTemplate } = this.source.files
    return tools ? (toolTemplate ?? chatTemplate) : chatTemplate
  }

  /** The prompt's text for a conversation. Errors as `encodeChat`. */
  renderChat(messages: readonly ChatMessage[], extras: TemplateExtras = {}): string {
    const template = extras.tools ? this.#toolTemplate : this.#template
    if (!template) {
      throw new BackendError(
        'bad_request',
        'This base model has no chat template: send a prompt to /v1/completions instead.',
      )
    }
    try {
      return template.render(templateInput(messages, extras, this.specials))
    } catch (error) {
      throw new BackendError(
        'bad_request',
        `The model's chat template refuses these messages: ${(error as Error).message.replace(/\.?$/, '.')}`,
      )
    }
  }

  /**
   * One token as log probabilities name it: by its text, or `bytes:\xf0\x9f` with these bytes where it is but a part of a
   * character, as OpenAI does.
   */
  tokenName(id: number): { readonly token: string; readonly bytes?: number[] } {
    this.#bytes ??= tokenBytes(this.source.files.tokenizer) ?? []
    const bytes = this.#bytes[id]
    if (!bytes) return { token: this.tokenText(id) }
    try {
      return { token: WHOLE_TEXT.decode(bytes) }
    } catch {
      const escaped = Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, '0')}`)
      return { token: `bytes:${escaped.join('')}`, bytes: [...bytes] }
    }
  }

  /** Whether it is the text of a special token, which is not shown. */
  isHidden(text: string): boolean {
    return this.#hiddenTexts.has(text)
  }

  /** The text of one token by itself, special ones included. */
  tokenText(id: number): string {
    return this.#tokenizer.decode([id], { ...AS_IT_IS, skip_special_tokens: false })
  }

  /** A decoder for one stream of tokens. */
  stream(): TextStream {
    const decode = (ids: number[]) => this.#tokenizer.decode(ids, { ...AS_IT_IS, skip_special_tokens: true })
    return new TextStream(decode, (id) => this.#hidden.has(id))
  }
}

/** A character has at most four bytes: of tokens that are no text yet the last three can be the beginning of one. */
const PARTS_OF_CHARACTER = 3
/** Tokens that are held back: more than that have bytes among them that belong to no character. */
const MAX_HELD = 16

/** Turns tokens into text as they come, never showing half a character. */
export class TextStream {
  readonly #decode: (ids: number[]) => string
  readonly #isHidden: (id: number) => boolean
  /** Tokens whose text is not all out yet, after enough earlier ones to decode them in context. */
  #ids: number[] = []
  #shown = 0

  constructor(decode: (ids: number[]) => string, isHidden: (id: number) => boolean = () => false) {
    this.#decode = decode
    this.#isHidden = isHidden
  }

  /** The text that the token makes certain; empty while a character is incomplete. */
  push(id: number): string {
    // It is no context either: after it alone, the space that begins a word would be lost as at the start of a text.
    if (this.#isHidden(id)) return ''
    this.#ids.push(id)
    const text = this.#decode(this.#ids)
    if (!text.endsWith('\ufffd')) return this.#show(text, this.#ids.length)
    if (this.#ids.length <= MAX_HELD) return ''
    const count = this.#ids.length - PARTS_OF_CHARACTER
    return this.#show(this.#decode(this.#ids.slice(0, count)), count)
  }

  /** What is new in `text`, which is of the first `count` tokens. */
  #show(text: string, count: number): string {
    const fresh = text.slice(this.#shown)
    // The newest of them stays as the context that tells whether the next one starts with a space.
    this.#ids = this.#ids.slice(count - 1)
    this.#shown = this.#decode(this.#ids.slice(0, 1)).length
    return fresh
  }

  /** What is left when the stream ends, incomplete characters included. */
  flush(): string {
    if (this.#ids.length === 0) return ''
    return this.#decode(this.#ids).slice(this.#shown)
  }
}
