// What a request asks as token ids: the model's tokenizer, the adapter's own chat template where it brought one.
// Knows no engine. Invariant: whichever engine runs, the same request becomes the same tokens.
import { AdapterTemplates } from '../model/adapter-templates.ts'
import type { Tokenizer } from '../model/tokenizer.ts'
import type { ChatMessage, GenerateRequest } from '../protocol.ts'
import { tokensLeft } from './tokens-left.ts'

export class Prompts {
  readonly #tokenizer: Tokenizer
  readonly #contextTokens: number
  readonly #templates = new AdapterTemplates()

  constructor(tokenizer: Tokenizer, contextTokens: number) {
    this.#tokenizer = tokenizer
    this.#contextTokens = contextTokens
  }

  /** Token ids of the request's prompt or messages. @throws BackendError `bad_request` as Tokenizer and AdapterTemplates */
  async encode(request: GenerateRequest, adapterTemplate: string | undefined): Promise<Int32Array> {
    return request.messages
      ? this.#encodeChat(request.messages, adapterTemplate)
      : this.#tokenizer.encode(request.prompt ?? '')
  }

  /** Tokens that may be generated after a prompt. @throws BackendError where the context does not hold it */
  maxTokens(promptTokens: number, wanted: number | undefined, allowed: number): number {
    return Math.min(tokensLeft(this.#contextTokens, promptTokens, wanted), allowed)
  }

  close(): void {
    this.#templates.close()
  }

  /** Token ids of a conversation as the adapter's own template, where it has one, or the model's makes it. */
  async #encodeChat(messages: readonly ChatMessage[], adapterTemplate: string | undefined): Promise<Int32Array> {
    if (adapterTemplate === undefined) return this.#tokenizer.encodeChat(messages)
    const text = await this.#templates.render(adapterTemplate, { messages, ...this.#tokenizer.specials })
    return this.#tokenizer.encodeRendered(text)
  }
}
