// What a request asks as token ids: the model's tokenizer, the adapter's own chat template where it brought one.
// Knows no engine. Invariants: whichever engine runs, the same request becomes the same tokens; no conversation holds the
// server's thread up, however much its template is to walk through.

import { BackendError } from '../errors.ts'
import type { ResponseFormat } from '../grammar/grammar.ts'
import { AdapterTemplates } from '../model/adapter-templates.ts'
import { PromptEncoder } from '../model/prompt-encoder.ts'
import type { TemplateExtras } from '../model/template-input.ts'
import { kindRendered, type Tokenizer } from '../model/tokenizer.ts'
import { type ChatMessage, type GenerateRequest, MAX_TEMPLATE_CHARS, promptsOf, type Tool } from '../protocol.ts'
import { type ToolUse, toolUse } from '../tools/tool-use.ts'
import { checkNamedTokens } from './named-tokens.ts'
import { tokensLeft } from './tokens-left.ts'

export class Prompts {
  readonly #tokenizer: Tokenizer
  readonly #contextTokens: number
  readonly #encoder: PromptEncoder
  readonly #templates = new AdapterTemplates()

  constructor(tokenizer: Tokenizer, contextTokens: number) {
    this.#tokenizer = tokenizer
    this.#contextTokens = contextTokens
    this.#encoder = new PromptEncoder(tokenizer, contextTokens)
  }

  /** What the request's tools mean, if it has any. @throws BackendError as `toolUse` */
  toolUse(
    request: GenerateRequest,
    adapterTemplate: string | undefined,
    checkFormat: (format: ResponseFormat) => void,
  ): ToolUse | undefined {
    const template = adapterTemplate ?? this.#tokenizer.templateOf(request)
    return toolUse(request, template, checkFormat, (token) => this.#tokenizer.isHidden(token))
  }

  /**
   * Token ids of the request's messages, or of each of its prompts.
   * @throws BackendError as PromptEncoder and AdapterTemplates, or where the request names tokens that there are not
   */
  async encode(
    request: GenerateRequest,
    tenant: string,
    adapterTemplate: string | undefined,
    tools: ToolUse | undefined,
  ): Promise<Int32Array[]> {
    const { messages, prompt } = request
    checkNamedTokens(request.sampling, this.#tokenizer.source.vocabSize)
    if (messages) {
      const text = await this.#render(messages, request, tenant, adapterTemplate)
      return this.#encoder.encode([text + (tools?.promptEnd ?? '')], kindRendered(adapterTemplate), tenant)
    }
    const prompts = promptsOf(prompt ?? '')
    const texts = prompts.filter((one) => typeof one === 'string')
    const encoded = (await this.#encoder.encode(texts, 'plain', tenant)).values()
    return prompts.map((one) => (typeof one === 'string' ? encoded.next().value! : this.#tokenizer.known(one)))
  }

  /** Token ids of each text by itself. @throws BackendError as PromptEncoder, or where one does not fit the context */
  async encodeInputs(texts: readonly string[], tenant: string): Promise<Int32Array[]> {
    const inputs = await this.#encoder.encode(texts, 'plain', tenant)
    for (const { length } of inputs) tokensLeft(this.#contextTokens, length, undefined)
    return inputs
  }

  /** Tokens that may be generated after a prompt, one at least. @throws BackendError where there are none */
  maxTokens(promptTokens: number, wanted: number | undefined, allowed: number): number {
    const tokens = Math.min(tokensLeft(this.#contextTokens, promptTokens, wanted), allowed)
    if (tokens > 0) return tokens
    throw new BackendError('forbidden', 'The capability token allows no tokens: ask through the edge.')
  }

  async close(): Promise<void> {
    this.#templates.close()
    await this.#encoder.close()
  }

  /** A conversation as the adapter's own template, where it has one, or the model's writes it. */
  async #render(
    messages: readonly ChatMessage[],
    { tools, chat_template_kwargs }: TemplateExtras,
    tenant: string,
    adapterTemplate: string | undefined,
  ): Promise<string> {
    const extras = { tools, chat_template_kwargs }
    const { specials } = this.#tokenizer
    if (adapterTemplate !== undefined) {
      return this.#templates.render(tenant, adapterTemplate, { messages, extras, specials })
    }
    const template = this.#tokenizer.templateOf(extras)
    if (template === undefined || jsonChars(messages, tools) <= MAX_TEMPLATE_CHARS) {
      return this.#tokenizer.renderChat(messages, extras)
    }
    return this.#templates.render(tenant, template, { messages, extras, specials }, 'model')
  }
}

/** Of JSON that a template is given as what it says: a text costs it nothing, however long it is. */
function jsonChars(messages: readonly ChatMessage[], tools: readonly Tool[] | undefined): number {
  let chars = tools ? JSON.stringify(tools).length : 0
  for (const { tool_calls: calls = [] } of messages) {
    for (const { function: called } of calls) chars += called.arguments.length
  }
  return chars
}
