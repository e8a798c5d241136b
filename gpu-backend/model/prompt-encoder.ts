// Texts to tokens without holding the server's thread up: short ones at once, long ones in a thread of their own.
// Knows the tokenizer's files and nothing of requests. Invariants: a text that cannot fit the context whatever its tokens
// are is refused before it is tokenised, which for some texts takes seconds; long texts are made one by one, tenants in turn,
// and none after one that does not fit.
import { BackendError } from '../errors.ts'
import { Turns } from '../scheduler/turns.ts'
import { TaskThread } from '../task-thread.ts'
import type { EncodeRequest } from './encoder-thread.ts'
import { longestTokenBytes } from './token-bytes.ts'
import type { PromptKind, Tokenizer } from './tokenizer.ts'

/** Texts up to this length in all take a few milliseconds, which is not worth a thread's time. */
const MAX_INLINE_CHARS = 4096

export class PromptEncoder {
  readonly #tokenizer: Tokenizer
  readonly #contextTokens: number
  readonly #maxBytes: number
  readonly #maxInlineChars: number
  readonly #thread: TaskThread<EncodeRequest, Int32Array>
  readonly #turns = new Turns()

  constructor(tokenizer: Tokenizer, contextTokens: number, maxInlineChars: number = MAX_INLINE_CHARS) {
    this.#tokenizer = tokenizer
    this.#contextTokens = contextTokens
    this.#maxBytes = contextTokens * (longestTokenBytes(tokenizer.source.files.tokenizer) ?? Number.POSITIVE_INFINITY)
    this.#maxInlineChars = maxInlineChars
    this.#thread = new TaskThread(
      new URL('./encoder-thread.ts', import.meta.url),
      tokenizer.source,
      'tokenises prompts',
    )
  }

  /**
   * Token ids of each text; long ones when it is the turn of `tenant`.
   * @throws BackendError `context_length_exceeded`, as the tokenizer does `bad_request`, or as its thread does `unavailable`
   */
  async encode(texts: readonly string[], kind: PromptKind, tenant: string): Promise<Int32Array[]> {
    for (const text of texts) if (Buffer.byteLength(text) > this.#maxBytes) throw this.#tooLong(text, 'more')
    const chars = texts.reduce((sum, text) => sum + text.length, 0)
    if (chars <= this.#maxInlineChars) return texts.map((text) => this.#tokenizer.encodeAs(text, kind))
    const encoded: Int32Array[] = []
    for (const text of texts) {
      const ids = await this.#turns.run(tenant, () => this.#thread.run({ text, kind }))
      if (ids.length >= this.#contextTokens) throw this.#tooLong(text, `${ids.length}`)
      encoded.push(ids)
    }
    return encoded
  }

  #tooLong(text: string, tokens: string): BackendError {
    return new BackendError(
      'context_length_exceeded',
      `This model's maximum context length is ${this.#contextTokens} tokens, but a prompt of ${text.length} characters has ${tokens}: shorten it.`,
    )
  }

  async close(): Promise<void> {
    this.#turns.clear(new BackendError('unavailable', 'This backend tokenises no prompts: the engine has stopped.'))
    await this.#thread.close()
  }
}
